; emu.rom: the smallest ROM that starts a guest on this machine.
;
; A PC's processor begins at the reset vector, 16 bytes below the end of this ROM, in real mode.
; From there: POST (the "power-on self test", which here tests little and sets up what a guest
; may rely on), then the guest is fetched and entered; after that the ROM runs only when called,
; by interrupts of the hardware and by the guest's INT instructions.
;
;       F000:0000       unused, FFh
;       F000:F000       POST; hardware interrupts; services
;       F000:FFF0       reset vector
;       F000:FFFE       model byte: FCh, an AT
;
; The memory it uses, and what is in it when the guest begins:
;
;       0000-03FF       interrupt vectors: every one has a handler
;       0400-04FF       BIOS data area: the fields BDA_... below, the rest 0
;       0500-053F       scratch, while the guest is being looked for
;            -7BFF      stack, growing down
;       7C00-           the guest, as long as its file
;
; The guest is the file `opt/emu/guest` of QEMU's firmware configuration device (fw_cfg), at most
; 512 KiB.  It is entered as a boot sector is: CS:IP = 0000:7C00, SS:SP = 0000:7C00, DL = 80h,
; DS = ES = FS = GS = 0, every other register 0, interrupts on, IRQ 0 at 18.2 Hz, A20 on.  The
; keyboard controller gives scan codes of set 1; IRQ 1 is masked.
;
; Services (registers as in the IBM PC AT Technical Reference, "ROM BIOS"):
;
;       INT 10h AH=0Eh  print AL on COM1; AH=0Fh: mode 3, 80 columns; others do nothing
;       INT 11h, 12h    AX = equipment, KiB of memory below 640 KiB
;       INT 13h         no disks: CF = 1, AH = 01h
;       INT 15h AH=88h  AX = KiB above 1 MiB; others CF = 1, AH = 86h
;       INT 16h         AH=00h: wait for a character of COM1; AH=01h: is there one?
;       INT 1Ah AH=00h  CX:DX = ticks since power-on; others CF = 1
;       INT 1Ch         called at each tick, for the guest to take
;
; Not done: test and size of RAM, option ROMs, video, disks, the shutdown byte (CMOS 0Fh),
; DRAM refresh; a local APIC, without which the processor must be, or its LINT0 stays masked and
; no IRQ arrives.  Exceptions land in the default handlers: as on an AT, a fault then repeats for
; ever.
;
; Sources: the data sheets named in pc.inc; QEMU docs/specs/fw_cfg; Intel 80386 Programmer's
; Reference Manual, section 10.1 (state after reset).

        cpu     386
        bits    16
        org     0                       ; a place in this file is an offset in segment F000
%include "pc.inc"

ROM_SEGMENT     equ     0F000h
ROM_SIZE        equ     10000h
ROM_CODE        equ     0F000h
RESET_VECTOR    equ     0FFF0h
MODEL_AT        equ     0FCh

MASTER_VECTOR   equ     08h             ; IRQ 0-7 are INT 08h-0Fh
SLAVE_VECTOR    equ     70h             ; IRQ 8-15 are INT 70h-77h

BDA_COM1        equ     400h            ; word: port of COM1, 0 if there is none
BDA_EQUIPMENT   equ     410h            ; word: see the two bits below
BDA_MEMORY      equ     413h            ; word: KiB from address 0 on
BDA_KEY         equ     41Eh            ; word: a character seen but not yet taken, or NO_KEY
BDA_TICKS       equ     46Ch            ; dword: ticks since power-on (an AT: since midnight)
BDA_MIDNIGHT    equ     470h            ; byte: 1 when BDA_TICKS has begun again
BDA_END         equ     500h

EQUIPMENT_FPU   equ     1 << 1
EQUIPMENT_COM1  equ     1 << 9          ; bits 11-9: how many serial ports
NO_KEY          equ     0FFFFh
TICKS_A_DAY     equ     1800B0h         ; 24 hours at 65536 / 1193182 s each

GUEST           equ     7C00h
GUEST_MAXIMUM   equ     512 * 1024
CHUNK           equ     4000h           ; bytes read between two steps of ES

COM1_BAUD       equ     115200
COM1_DIVISOR    equ     1843200 / 16 / COM1_BAUD

FW_CFG_SIGNATURE equ    0000h           ; selectors
FW_CFG_FILE_DIR equ     0019h
SIGNATURE_QEMU  equ     51454D55h       ; "QEMU"
ENTRY           equ     500h            ; a directory entry: big-endian size (4 bytes),
ENTRY_SELECTOR  equ     4               ; selector (2), reserved (2),
ENTRY_NAME      equ     8               ; and the name, ending with 0
ENTRY_SIZE      equ     64

        times   ROM_CODE db 0FFh

; ==== POST ====

post:   cli
        cld
        xor     ax, ax
        mov     ds, ax                  ; DS and ES stay 0 throughout POST
        mov     es, ax
        mov     ss, ax
        mov     sp, GUEST

        in      al, PORT_92             ; bit 0 as read may be anything: 1 would reset
        or      al, PORT_92_A20
        and     al, ~PORT_92_RESET & 0FFh
        out     PORT_92, al

; The keyboard controller, where there is one: tested, then the keyboard on, its codes translated
; to set 1, its interrupt enabled (IRQ 1 is masked, below), and the mouse off.

        in      al, KBC_COMMAND
        cmp     al, 0FFh                ; nobody
        je      .no_kbc
        mov     al, KBC_TEST
        out     KBC_COMMAND, al
.kbc_testing:
        in      al, KBC_COMMAND
        test    al, KBC_OBF
        jz      .kbc_testing
        in      al, KBC_DATA            ; 55h: passed
        mov     al, KBC_WRITE_COMMAND_BYTE
        out     KBC_COMMAND, al
.kbc_busy:
        in      al, KBC_COMMAND
        test    al, KBC_IBF
        jnz     .kbc_busy
        mov     al, KBC_INT | KBC_SYS | KBC_DISABLE_AUX | KBC_TRANSLATE
        out     KBC_DATA, al
.no_kbc:

; The vectors: first every one harmless, then those of the hardware, then the services.

        xor     di, di
        mov     cx, 256
        mov     eax, (ROM_SEGMENT << 16) + ignore
        rep     stosd
        mov     di, 4 * MASTER_VECTOR
        mov     cx, 8
        mov     eax, (ROM_SEGMENT << 16) + ignore_master
        rep     stosd
        mov     di, 4 * SLAVE_VECTOR
        mov     cx, 8
        mov     eax, (ROM_SEGMENT << 16) + ignore_slave
        rep     stosd
        mov     word [4 * 08h], irq_timer
        mov     word [4 * 0Ch], irq_com1
        mov     word [4 * 10h], int_video
        mov     word [4 * 11h], int_equipment
        mov     word [4 * 12h], int_memory
        mov     word [4 * 13h], int_disk
        mov     word [4 * 15h], int_system
        mov     word [4 * 16h], int_keyboard
        mov     word [4 * 1Ah], int_time

; The BIOS data area.

        mov     di, BDA_COM1
        mov     cx, (BDA_END - BDA_COM1) / 4
        xor     eax, eax
        rep     stosd
        mov     word [BDA_MEMORY], 640
        mov     word [BDA_KEY], NO_KEY
        fninit                          ; without a coprocessor nobody answers, and AX stays
        mov     ax, 0FFFFh
        fnstsw  ax
        test    al, al
        jnz     .no_fpu
        or      word [BDA_EQUIPMENT], EQUIPMENT_FPU
.no_fpu:

; COM1: 115,200 baud, 8N1, FIFO on, no interrupts yet.  LCR reads back what was written, where
; there is a UART at all.

        mov     dx, COM1 + LCR
        mov     al, LCR_DLAB
        out     dx, al
        mov     dx, COM1 + DLL
        mov     al, COM1_DIVISOR & 0FFh
        out     dx, al
        mov     dx, COM1 + DLM
        mov     al, COM1_DIVISOR >> 8
        out     dx, al
        mov     dx, COM1 + LCR
        mov     al, LCR_8N1
        out     dx, al
        in      al, dx
        cmp     al, LCR_8N1
        jne     .no_com1
        mov     dx, COM1 + IER
        xor     al, al
        out     dx, al
        mov     dx, COM1 + FCR
        mov     al, FCR_ENABLE | FCR_RESET_BOTH
        out     dx, al
        mov     dx, COM1 + MCR
        mov     al, MCR_DTR | MCR_RTS | MCR_OUT2
        out     dx, al
        mov     word [BDA_COM1], COM1
        or      word [BDA_EQUIPMENT], EQUIPMENT_COM1
.no_com1:
        mov     si, text_banner
        call    post_print

; The interrupt controllers: only what this ROM handles gets through.

        mov     al, ICW1_IC4
        out     MASTER, al
        out     SLAVE, al
        mov     al, MASTER_VECTOR       ; ICW2
        out     MASTER_DATA, al
        mov     al, SLAVE_VECTOR
        out     SLAVE_DATA, al
        mov     al, ICW3_MASTER
        out     MASTER_DATA, al
        mov     al, ICW3_SLAVE
        out     SLAVE_DATA, al
        mov     al, ICW4_8086
        out     MASTER_DATA, al
        out     SLAVE_DATA, al
        mov     al, ~(1 << 0 | 1 << COM1_IRQ) & 0FFh    ; OCW1: timer and COM1
        out     MASTER_DATA, al
        mov     al, 0FFh
        out     SLAVE_DATA, al

; The timer: 65,536 counts a tick, the slowest there is; a count of 0 means that.

        mov     al, PIT_MODE_3
        out     PIT_CONTROL, al
        xor     al, al
        out     PIT_COUNTER_0, al
        out     PIT_COUNTER_0, al

; The guest.

        call    find_guest
        jc      .no_guest
        cmp     ebx, GUEST_MAXIMUM
        ja      .too_large
        call    load_guest
        mov     si, text_loaded
        call    post_print
        jmp     enter_guest
.no_guest:
        mov     si, text_no_guest
        jmp     .end
.too_large:
        mov     si, text_too_large
.end:   call    post_print

; Nothing more will happen: let the last character leave the wire, and halt with interrupts off,
; by which anybody can see that this machine has stopped for good.

        mov     dx, [BDA_COM1]
        test    dx, dx
        jz      .halt
        add     dx, LSR
.busy:  in      al, dx
        test    al, LSR_TEMT
        jz      .busy
.halt:  hlt
        jmp     .halt                   ; NMI ends a HLT even so

; Look for the guest in fw_cfg: CF = 0, EBX = its size and AX = its selector, or CF = 1.
;
; One register selects an item, the other then gives its bytes one by one.  The directory is a
; count, then so many entries.  Without the device both read all ones, which is no signature.
find_guest:
        mov     ax, FW_CFG_SIGNATURE
        call    fw_cfg_select
        call    fw_cfg_read_dword
        cmp     eax, SIGNATURE_QEMU
        jne     .none
        mov     ax, FW_CFG_FILE_DIR
        call    fw_cfg_select
        call    fw_cfg_read_dword
        mov     ebp, eax                ; EBP = entries left
.next:  sub     ebp, 1
        jc      .none
        mov     di, ENTRY
        mov     cx, ENTRY_SIZE
        rep     insb
        mov     si, guest_name
        mov     di, ENTRY + ENTRY_NAME
        mov     cx, guest_name.end - guest_name
        cs repe cmpsb
        jne     .next
        mov     ebx, [ENTRY]
        xchg    bl, bh                  ; from big-endian (a 386 has no BSWAP)
        rol     ebx, 16
        xchg    bl, bh
        test    ebx, ebx
        jz      .none                   ; an empty file is no guest
        mov     ax, [ENTRY + ENTRY_SELECTOR]
        xchg    al, ah
        clc
        ret
.none:  stc
        ret

; Read EBX bytes of item AX to GUEST.  DI would wrap after 64 KiB, so ES moves with each chunk.
load_guest:
        call    fw_cfg_select
        push    es
        mov     ax, GUEST >> 4
.chunk: mov     es, ax
        xor     di, di
        mov     ecx, CHUNK
        cmp     ebx, ecx
        jae     .read
        mov     ecx, ebx
.read:  sub     ebx, ecx
        rep     insb
        add     ax, CHUNK >> 4
        test    ebx, ebx
        jnz     .chunk
        pop     es
        ret

; Select item AX; DX = the data port.
fw_cfg_select:
        mov     dx, FW_CFG_SELECT
        out     dx, ax
        mov     dx, FW_CFG_DATA
        ret

; EAX = the next 4 bytes, the first one highest.  Changes CX.
fw_cfg_read_dword:
        mov     cx, 4
.next:  shl     eax, 8
        in      al, dx
        loop    .next
        ret

; IRET takes IP, CS and FLAGS from the stack: the guest gets all three at once, and SP is then
; where it was.
enter_guest:
        push    word FLAGS_IF | 1 << 1  ; bit 1 of FLAGS is always 1
        push    word 0
        push    word GUEST
        xor     eax, eax
        mov     fs, ax
        mov     gs, ax
        xor     ebx, ebx
        xor     ecx, ecx
        mov     edx, 80h                ; DL: "the first hard disk"
        xor     esi, esi
        xor     edi, edi
        xor     ebp, ebp
        iret

; Print the string at CS:SI on COM1, and on the debug console where there is one.
post_print:
        cs lodsb
        test    al, al
        jz      .end
        call    com1_put
        mov     ah, al
        mov     dx, DEBUG_CONSOLE
        in      al, dx
        cmp     al, DEBUG_PRESENT
        jne     post_print
        mov     al, ah
        out     dx, al
        jmp     post_print
.end:   ret

; Send AL on COM1.  Keeps every register.  DS must be 0.
com1_put:
        push    dx
        push    ax
        mov     dx, [BDA_COM1]
        test    dx, dx
        jz      .absent
        add     dx, LSR
.busy:  in      al, dx
        test    al, LSR_THRE
        jz      .busy
        pop     ax
        push    ax
        add     dx, THR - LSR
        out     dx, al
.absent:
        pop     ax
        pop     dx
        ret

; ==== Hardware interrupts ====

; IRQ 0: count the tick, and let the guest know.
irq_timer:
        push    ax
        push    ds
        push    word 0
        pop     ds
        inc     dword [BDA_TICKS]
        cmp     dword [BDA_TICKS], TICKS_A_DAY
        jb      .same_day
        mov     dword [BDA_TICKS], 0
        mov     byte [BDA_MIDNIGHT], 1
.same_day:
        int     1Ch
        mov     al, OCW2_EOI
        out     MASTER, al
        pop     ds
        pop     ax
        iret

; IRQ 4: it has done its work by ending the HLT in int_keyboard, which reads the character.
; The UART must let go of its line: the 8259 sees edges only.
irq_com1:
        push    ax
        push    dx
        mov     dx, COM1 + IER
        xor     al, al
        out     dx, al
        mov     al, OCW2_EOI
        out     MASTER, al
        pop     dx
        pop     ax
        iret

; Any other IRQ: end it.  A controller with nothing in service has not asked for this: it was
; an INT instruction, or a request that went away before it was acknowledged (IRQ 7 or 15 then).
ignore_slave:
        push    ax
        mov     al, OCW3_READ_ISR
        out     SLAVE, al
        in      al, SLAVE
        test    al, al
        jz      ignore_master.master
        mov     al, OCW2_EOI
        out     SLAVE, al
        jmp     ignore_master.master
ignore_master:
        push    ax
.master:
        mov     al, OCW3_READ_ISR
        out     MASTER, al
        in      al, MASTER
        test    al, al
        jz      .end
        mov     al, OCW2_EOI
        out     MASTER, al
.end:   pop     ax
ignore: iret

; ==== Services ====

; IRET gives the caller its own FLAGS back.  A service that answers in a flag changes the copy
; on the stack, above IP and CS.

return_carry_set:
        push    bp
        mov     bp, sp
        or      byte [bp + 6], FLAGS_CF
        pop     bp
        iret

return_carry_clear:
        push    bp
        mov     bp, sp
        and     byte [bp + 6], ~FLAGS_CF & 0FFh
        pop     bp
        iret

; INT 10h: the screen is whoever listens on COM1.
int_video:
        cmp     ah, 0Eh
        je      .teletype
        cmp     ah, 0Fh
        jne     .end
        mov     ax, 80 << 8 | 3         ; 80 columns, mode 3: text in colours
        mov     bh, 0                   ; page
.end:   iret
.teletype:
        push    ds
        push    word 0
        pop     ds
        call    com1_put
        pop     ds
        iret

int_equipment:
        push    ds
        push    word 0
        pop     ds
        mov     ax, [BDA_EQUIPMENT]
        pop     ds
        iret

int_memory:
        push    ds
        push    word 0
        pop     ds
        mov     ax, [BDA_MEMORY]
        pop     ds
        iret

int_disk:
        mov     ah, 01h                 ; "invalid function or parameter"
        jmp     return_carry_set

int_system:
        cmp     ah, 88h
        jne     .unsupported
        mov     al, CMOS_D
        call    cmos_read
        cmp     al, CMOS_D_VRT          ; no battery, or no such chip: all ones
        jne     .unsupported
        mov     al, CMOS_EXTENDED + 1
        call    cmos_read
        mov     ah, al
        mov     al, CMOS_EXTENDED
        call    cmos_read
        jmp     return_carry_clear
.unsupported:
        mov     ah, 86h
        jmp     return_carry_set

; AL = byte AL of the CMOS RAM.
cmos_read:
        out     CMOS_INDEX, al
        in      al, CMOS_DATA
        ret

; INT 16h: the keyboard is COM1 too.  AL = character, AH = 0, for it has no scan code.
int_keyboard:
        push    ds
        push    word 0
        pop     ds
        cmp     ah, 01h
        je      .peek
        test    ah, ah
        jnz     .end

; AH=00h: wait.  Interrupts are off while we look, and STI takes effect one instruction late: a
; character cannot come between the look and the HLT.  IRQ 4 ends the HLT at once; where the
; guest has masked it, IRQ 0 does within a tick.
.wait:  cli
        call    key_look
        cmp     ax, NO_KEY
        jne     .take
        push    dx
        mov     dx, COM1 + IER
        mov     al, IER_ERBFI
        out     dx, al
        pop     dx
        sti
        hlt
        jmp     .wait
.take:  mov     word [BDA_KEY], NO_KEY
.end:   pop     ds
        iret

; AH=01h: ZF = 1 if there is none, else ZF = 0 and AX as AH=00h would give it.
.peek:  call    key_look
        pop     ds
        push    bp
        mov     bp, sp
        or      byte [bp + 6], FLAGS_ZF
        cmp     ax, NO_KEY
        je      .none
        and     byte [bp + 6], ~FLAGS_ZF & 0FFh
.none:  pop     bp
        iret

; AX = BDA_KEY, filled from COM1 if that has received something and BDA_KEY is free.
key_look:
        mov     ax, [BDA_KEY]
        cmp     ax, NO_KEY
        jne     .end
        push    dx
        mov     dx, [BDA_COM1]
        test    dx, dx
        jz      .absent
        add     dx, LSR
        in      al, dx
        test    al, LSR_DR
        mov     ax, NO_KEY
        jz      .absent
        add     dx, RBR - LSR
        in      al, dx
        mov     ah, 0
        mov     [BDA_KEY], ax
.absent:
        pop     dx
.end:   ret

int_time:
        test    ah, ah
        jnz     return_carry_set
        push    ds
        push    word 0
        pop     ds
        mov     cx, [BDA_TICKS + 2]
        mov     dx, [BDA_TICKS]
        mov     al, 0
        xchg    al, [BDA_MIDNIGHT]      ; AL = 1 once after midnight
        pop     ds
        jmp     return_carry_clear

; ==== Texts ====

guest_name:     db      "opt/emu/guest", 0
.end:

text_banner:    db      "emu ROM: ", 0
text_loaded:    db      "guest at 0000:7C00", CR, LF, 0
text_no_guest:  db      "no guest (fw_cfg has no file opt/emu/guest)", CR, LF, 0
text_too_large: db      "guest is larger than 512 KiB", CR, LF, 0

; ==== The end of the address space ====

        times   RESET_VECTOR - ($ - $$) db 0FFh
        jmp     ROM_SEGMENT:post        ; until this jump CS has the base FFFF0000h

        times   ROM_SIZE - 2 - ($ - $$) db 0FFh
        db      MODEL_AT
        db      0FFh
