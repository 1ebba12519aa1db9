; torture.rom: what a PC's processor does, asked of the processor itself.
;
; The ROM takes the place of a BIOS.  It walks through the processor's manual, a chapter a file, and
; writes what it finds to the debug console (port E9h): a line a test.  Two machines that print the
; same are the same processor, as far as this ROM can see.  It ends by the debug exit (port F4h).
;
;       04.04 beyond the GDT to DS: #0D e=00000100 at 0008:+0005 fl=00000002 sp=0000F000 now=0010
;
; "#0D" is the vector, e the error code, +0004 how far from the test's first instruction CS:EIP is,
; fl the saved EFLAGS, sp what ESP was.  After a fault from an outer level comes its SS:ESP, after
; one from virtual-8086 mode the data segments, after #PF CR2, after #DB DR6.  "-" says that the test
; ran to its end.
;
; Nothing that is logged depends on time, on the model's name, or on what the manual calls undefined;
; and no test depends on the one before: `begin` puts tables and control registers back.
;
; Memory (every segment has base 0, unless a test is about bases; so a label is an offset in any
; segment, and a linear address):
;
;       0000-03FF       interrupt vectors of real mode
;       0500-0FFF       variables; they survive a reset
;       1000-DFFF       this ROM's text, copied from F000:1000
;       E000-EFFF       stack of privilege level 0, and of real mode
;       F000-FFFF       stacks of levels 1, 2 and 3
;       10000-1FFFF     descriptor tables, TSSs, page tables, scratch
;       20000-4FFFF     scratch pages for the chapters
;       50000-5FFFF     copied from E000:0000: what protected mode prints, and chapters that need no
;                       address below 64 KiB
;       100000-         scratch for A20, unreal mode, paging
;
; Sources: Intel 64 and IA-32 Architectures Software Developer's Manual (SDM), volumes 1 to 3.

        cpu     katmai
        org     0
%include "pc.inc"
%include "processor.inc"

ROM_SEGMENT     equ     0F000h
TEXT            equ     1000h           ; the same offset in the ROM and in RAM
ROM_ONLY        equ     0E000h          ; code that is not copied
RESET_VECTOR    equ     0FFF0h
IRQ_VECTOR      equ     20h
BANK            equ     10000h          ; the ROM's two halves

        section .strings32 start=0 vstart=STRINGS align=1
        section .high   follows=.strings32 vfollows=.strings32 align=1 valign=1
        section .head   start=BANK align=1
        times   TEXT db 0FFh
        section .text   start=(BANK + TEXT) vstart=TEXT align=1
        section .tables follows=.text vfollows=.text align=16 valign=16
        section .strings16 follows=.tables vfollows=.tables align=1 valign=1
        section .rom    start=(BANK + ROM_ONLY) vstart=ROM_ONLY align=1

        section .text
%include "torture/layout.asm"
%include "torture/test.asm"
%include "torture/real.asm"
%include "torture/protected.asm"
%include "torture/segments.asm"
%include "torture/transfers.asm"
%include "torture/levels.asm"
%include "torture/paging.asm"
%include "torture/virtual.asm"
%include "torture/tasks.asm"
%include "torture/double.asm"
%include "torture/debug.asm"
%include "torture/interrupts.asm"
        jmp     high_chapters
        section .high
high_chapters:
%include "torture/fpu.asm"
%include "torture/arithmetic.asm"
        jmp     last_chapter
        section .text
last_chapter:
%include "torture/reset.asm"

; ---- the end of the log ----

        bits    32
the_end:
        PRINT   `the end\n`
        xor     eax, eax
        out     DEBUG_EXIT, al
        cli
.halt:  hlt
        jmp     .halt

; ==== what runs in the ROM itself ====

        section .rom
        bits    16
power_on:
        cli
        cld
        xor     ax, ax
        mov     ss, ax
        mov     sp, STACK_0
        pushfd
        mov     es, ax
        pop     dword [es:reset_eflags]
        mov     eax, cr0
        mov     [es:reset_cr0], eax
        mov     eax, cr3
        mov     [es:reset_cr3], eax
        mov     eax, cr4
        mov     [es:reset_cr4], eax
        mov     eax, dr7
        mov     [es:reset_dr7], eax
        o32 sidt [es:reset_idt]
        mov     ax, ROM_SEGMENT
        mov     ds, ax
        mov     si, TEXT
        mov     di, TEXT
        mov     cx, (ROM_ONLY - TEXT) / 4
        rep     movsd
        mov     ax, ROM_SEGMENT - (BANK >> 4)
        mov     ds, ax
        mov     ax, STRINGS >> 4
        mov     es, ax
        xor     si, si
        xor     di, di
        mov     cx, BANK / 4
        rep     movsd
        mov     ds, cx
        mov     es, cx
        call    initialise_pic
        mov     ax, cold_start
        cmp     dword [running], RUNNING
        jne     .go
        mov     ax, [after_reset]
.go:    push    cx                      ; which is 0
        push    ax
        retf

; Both interrupt controllers at the vectors that the chapter on interrupts expects, all masked.
initialise_pic:
        mov     al, ICW1_IC4
        out     MASTER, al
        out     SLAVE, al
        mov     al, IRQ_VECTOR
        out     MASTER_DATA, al
        mov     al, IRQ_VECTOR + 8
        out     SLAVE_DATA, al
        mov     al, ICW3_MASTER
        out     MASTER_DATA, al
        mov     al, ICW3_SLAVE
        out     SLAVE_DATA, al
        mov     al, ICW4_8086
        out     MASTER_DATA, al
        out     SLAVE_DATA, al
        mov     al, 0FFh
        out     MASTER_DATA, al
        out     SLAVE_DATA, al
        ret

        times   RESET_VECTOR - ROM_ONLY - ($ - $$) db 0FFh
        jmp     ROM_SEGMENT:power_on
        times   BANK - ROM_ONLY - ($ - $$) db 0FFh
