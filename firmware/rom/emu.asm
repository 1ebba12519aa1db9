; emu.rom: the BIOS of this machine, small enough to be read.
;
; A PC's processor begins at the reset vector, 16 bytes below the end of this ROM, in real mode.
; From there: POST (the "power-on self test", which here tests little and sets up what a guest
; may rely on); then INT 19h finds something to boot and enters it; after that the ROM runs only
; when called, by interrupts of the hardware and by the guest's INT instructions.
;
;       F000:0000       unused, FFh
;       F000:E000       the chapters, in the order in which they are included below
;       F000:FFF0       reset vector
;       F000:FFFE       model byte: FCh, an AT
;
; The memory it uses, and what is in it when the guest begins:
;
;       00000-003FF     interrupt vectors: every one has a handler
;       00400-004FF     BIOS data area: the fields BDA_... below, the rest 0
;            -07BFF     stack, growing down
;       07C00-          the guest: a sector, or a file as long as it is
;       9FC00-9FFFF     extended BIOS data area: the drives (fields EBDA_...)
;
; What is booted: the drives in the order that CMOS RAM gives (3Dh and 38h), each if its first
; sector ends with 55h AAh; then the file `opt/emu/guest`, at most 512 KiB, loaded whole.  It is
; entered as a boot sector is: CS:IP = 0000:7C00, SS:SP = 0000:7C00, DL = its drive (80h for a
; file), DS = ES = FS = GS = 0, every other register 0, interrupts on, IRQ 0 at 18.2 Hz, A20 on.
; The keyboard controller gives scan codes of set 1, to IRQ 1.
;
; Drives are files of QEMU's firmware configuration device (fw_cfg), `opt/emu/floppy` (00h) and
; `opt/emu/disk` (80h).
;
; Services (registers as in the IBM PC AT Technical Reference, "ROM BIOS"; each chapter says
; more):
;
;       INT 10h         text, which goes to COM1: the screen is a terminal on that line
;       INT 11h, 12h    equipment, KiB of memory
;       INT 13h         drives, by cylinder, head and sector, and by block number
;       INT 14h         COM1
;       INT 15h         A20, memory beyond 1 MiB and how much, wait
;       INT 16h         keyboard and COM1: one queue for both
;       INT 18h, 19h    nothing to boot; boot
;       INT 1Ah         ticks; the clock
;       INT 1Ch         called at each tick, for the guest to take
;       INT 05h, 1Bh    Print Screen, Ctrl-Break: nothing, until the guest takes them
;
; They are for real mode.  Each keeps all registers but those that it answers in, and uses less
; than 100 bytes of the caller's stack.
;
; Not done: test and size of RAM, option ROMs, graphics, the lights of the keyboard, INT 17h, the
; mouse (INT 15h AH=C2h), the RTC's alarm, the shutdown byte (CMOS 0Fh), DRAM refresh; a local
; APIC, without which the processor must be, or its LINT0 stays masked and no IRQ arrives.
; Exceptions land in the default handlers: as on an AT, a fault then repeats for ever.
;
; Sources: IBM PC AT Technical Reference; Phoenix, Enhanced Disk Drive Specification 1.1; ACPI,
; "System Address Map Interfaces"; the data sheets named in pc.inc; QEMU docs/specs/fw_cfg;
; Intel 80386 Programmer's Reference Manual, section 10.1 (state after reset).

        cpu     386
        bits    16
        org     0                       ; a place in this file is an offset in segment F000
%include "pc.inc"

ROM_SEGMENT     equ     0F000h
ROM_SIZE        equ     10000h
ROM_CODE        equ     0E000h
RESET_VECTOR    equ     0FFF0h
MODEL_AT        equ     0FCh

GUEST           equ     7C00h

; ---- The BIOS data area: AT Technical Reference, "BIOS Data Area", at segment 0 ----

BDA_COM1        equ     400h            ; word: port of COM1, 0 if there is none
BDA_EBDA        equ     40Eh            ; word: segment of the extended BIOS data area
BDA_EQUIPMENT   equ     410h            ; word: see the bits below
BDA_MEMORY      equ     413h            ; word: KiB from address 0 on
BDA_SHIFTS      equ     417h            ; byte: see the bits SHIFT_... in keyboard.asm
BDA_LOCKS_DOWN  equ     418h            ; byte: those of bits 7-4 whose key is down
BDA_KEYS_HEAD   equ     41Ah            ; word: where in segment 40h the next key is taken,
BDA_KEYS_TAIL   equ     41Ch            ; word: and the next one put; equal if there is none
BDA_KEYS        equ     41Eh            ; 16 words: a ring of keys
BDA_FLOPPY_STATUS equ   441h            ; byte: how the last INT 13h for a floppy ended
BDA_MODE        equ     449h            ; byte: of the screen
BDA_COLUMNS     equ     44Ah            ; word
BDA_CURSOR      equ     450h            ; byte: column, byte: row
BDA_CURSOR_TYPE equ     460h            ; word: as set by INT 10h
BDA_TICKS       equ     46Ch            ; dword: ticks since midnight
BDA_MIDNIGHT    equ     470h            ; byte: 1 when BDA_TICKS has begun again
BDA_DISK_STATUS equ     474h            ; byte: as BDA_FLOPPY_STATUS, for a disk
BDA_DISKS       equ     475h            ; byte: how many disks
BDA_KEYS_START  equ     480h            ; word: where in segment 40h the ring is,
BDA_KEYS_END    equ     482h            ; word: and where it ends
BDA_ROWS        equ     484h            ; byte: rows of the screen less one
BDA_PREFIX      equ     496h            ; byte: bit 1: E0h has come, bit 0: E1h has
BDA_TERMINAL    equ     4ACh            ; word, ours: where the terminal has its cursor
BDA_SCRATCH     equ     4AEh            ; word, ours: to see by whether A20 is on
BDA_END         equ     500h

EQUIPMENT_FLOPPY equ    1 << 0          ; bits 7-6: how many, less one
EQUIPMENT_FPU   equ     1 << 1
EQUIPMENT_COLOUR equ    2 << 4          ; the screen: colours, 80 columns
EQUIPMENT_COM1  equ     1 << 9          ; bits 11-9: how many serial ports

; ---- The extended BIOS data area, at segment 9FC0h ----

EBDA_SEGMENT    equ     9FC0h
EBDA_KIB        equ     1

EBDA_SIZE       equ     00h             ; byte: KiB
EBDA_DMA        equ     10h             ; 16 bytes: what fw_cfg is asked to do
EBDA_ENTRY      equ     20h             ; 64 bytes: an entry of fw_cfg's directory
EBDA_FLOPPY     equ     60h             ; a drive: see disk.asm
EBDA_DISK       equ     70h             ; a drive
EBDA_FLOPPY_TABLE equ   80h             ; 11 bytes: where INT 1Eh points
EBDA_DISK_TABLE equ     90h             ; 16 bytes: where INT 41h points

; ---- Services: what they find on the stack ----
;
; `SERVICE` saves everything; then BP points to the caller's registers, by these names, and the
; registers have still the caller's values but for DS = ES = 0.  What is stored in a name is what
; the caller gets.  Every way out is one of the labels `return...` in hardware.asm.

%macro SERVICE 0
        push    ds
        push    es
        pushad
        mov     bp, sp
        cld
        push    word 0
        pop     ds
        push    word 0
        pop     es
%endmacro

%define CALLER_DI       bp
%define CALLER_SI       bp + 4
%define CALLER_BP       bp + 8
%define CALLER_BX       bp + 16
%define CALLER_BL       bp + 16
%define CALLER_BH       bp + 17
%define CALLER_DX       bp + 20
%define CALLER_DL       bp + 20
%define CALLER_DH       bp + 21
%define CALLER_CX       bp + 24
%define CALLER_CL       bp + 24
%define CALLER_CH       bp + 25
%define CALLER_AX       bp + 28
%define CALLER_AL       bp + 28
%define CALLER_AH       bp + 29
%define CALLER_ES       bp + 32
%define CALLER_DS       bp + 34
%define CALLER_FLAGS    bp + 40         ; above IP and CS

        times   ROM_CODE db 0FFh

%include "emu/post.asm"
%include "emu/boot.asm"
%include "emu/fw_cfg.asm"
%include "emu/hardware.asm"
%include "emu/disk.asm"
%include "emu/screen.asm"
%include "emu/serial.asm"
%include "emu/keyboard.asm"
%include "emu/system.asm"
%include "emu/time.asm"

; ==== The end of the address space ====

        times   RESET_VECTOR - ($ - $$) db 0FFh
        jmp     ROM_SEGMENT:post        ; until this jump CS has the base FFFF0000h

        times   ROM_SIZE - 2 - ($ - $$) db 0FFh
        db      MODEL_AT
        db      0FFh
