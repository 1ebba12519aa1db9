; Where things are in memory, the selectors, and the tables as every test finds them.

; ---- the processor's bits, by the manual's names ----

CR0_PE          equ     1 << 0
CR0_MP          equ     1 << 1
CR0_EM          equ     1 << 2
CR0_TS          equ     1 << 3
CR0_ET          equ     1 << 4
CR0_NE          equ     1 << 5
CR0_WP          equ     1 << 16
CR0_AM          equ     1 << 18
CR0_PG          equ     1 << 31
CR4_TSD         equ     1 << 2
CR4_DE          equ     1 << 3
CR4_PSE         equ     1 << 4
CR4_PAE         equ     1 << 5
CR4_PGE         equ     1 << 7
CR4_OSFXSR      equ     1 << 9
CR4_OSXMMEXCPT  equ     1 << 10
DR6_RESET       equ     0FFFF0FF0h
DR7_RESET       equ     400h

CF              equ     1 << 0
PF              equ     1 << 2
AF              equ     1 << 4
ZF              equ     1 << 6
SF              equ     1 << 7
TF              equ     1 << 8
IF              equ     1 << 9
DF              equ     1 << 10
OF              equ     1 << 11
IOPL_3          equ     3 << 12
NT              equ     1 << 14
RF              equ     1 << 16
VM              equ     1 << 17
AC              equ     1 << 18
ALWAYS          equ     1 << 1
ARITHMETIC      equ     OF | SF | ZF | AF | PF | CF

; ---- memory ----

STACK_0         equ     0F000h          ; the stacks' tops
STACK_1         equ     0F400h
STACK_2         equ     0F800h
STACK_3         equ     0FC00h
STACK_TASK      equ     0FFF0h

GDT             equ     10000h
IDT             equ     10200h
LDT             equ     10600h
TSS             equ     10700h          ; the task that tests run in
TSS_B           equ     10800h          ; others, filled by whoever needs them
TSS_C           equ     10900h
TSS_16          equ     10A00h
PAGE_DIRECTORY  equ     11000h
PAGE_TABLE      equ     12000h          ; for 0-3FFFFF, one to one
PAGE_TABLE_2    equ     13000h          ; for 400000-7FFFFF
PAE_POINTERS    equ     14000h
PAE_DIRECTORY   equ     15000h
PAE_TABLE       equ     16000h
FPU_IMAGE       equ     18000h
BUFFER          equ     19000h
STRINGS         equ     50000h

; ---- variables ----

RUNNING         equ     4E555221h
        absolute 500h
running:        resd    1               ; RUNNING from the first start on
NO_EIP          equ     0FFFFFFFFh
test_base:      resd    1               ; where the test's first instruction is; NO_EIP: not to be logged
reset_cr0:      resd    1               ; what power_on has found
reset_cr3:      resd    1
reset_cr4:      resd    1
reset_dr7:      resd    1
reset_eflags:   resd    1
reset_idt:      resb    8
after_reset:    resd    1               ; where to go on after one that a test makes
test_resume:    resd    1               ; where it goes on after a fault
returns:        resd    1               ; so many events are to be returned from, not resumed after
skip:           resd    1               ; and EIP is to be this much further
sum:            resd    1               ; a checksum
real_flags:     resd    1               ; EFLAGS on their way to the log
saved_registers:                        ; at the last event: EDI ESI EBP ESP EBX EDX ECX EAX
saved_edi:      resd    1
saved_esi:      resd    1
saved_ebp:      resd    1
saved_esp:      resd    1
saved_ebx:      resd    1
saved_edx:      resd    1
saved_ecx:      resd    1
saved_eax:      resd    1
to_eip:         resd    1               ; on the way to another mode
to_eflags:      resd    1
after_sysenter: resd    1               ; where its target goes on, 0: behind CAUGHT
saved_eflags:   resd    1               ; and in its frame
scratch:        resd    32
        section .text

; ---- descriptors ----

; DESCRIPTOR base, limit (20 bits), access byte, flags (G, D/B, 0, AVL)
%macro DESCRIPTOR 4
        dw      (%2) & 0FFFFh
        dw      (%1) & 0FFFFh
        db      (%1) >> 16 & 0FFh
        db      %3
        db      (%2) >> 16 & 0Fh | (%4) << 4
        db      (%1) >> 24 & 0FFh
%endmacro

; GATE selector, offset, access byte, count of parameters
%macro GATE 4
        dw      %2
        dw      %1
        db      %4
        db      %3
        dw      0
%endmacro

FLAT            equ     0Ch             ; G and B
SMALL           equ     0               ; bytes, 16 bits
BYTES_32        equ     4               ; bytes, 32 bits

READ_WRITE      equ     93h             ; accessed
EXECUTE_READ    equ     9Bh
DPL_1           equ     1 << 5
DPL_2           equ     2 << 5
DPL_3           equ     3 << 5
INTERRUPT_32    equ     8Eh
TRAP_32         equ     8Fh
INTERRUPT_16    equ     86h
TRAP_16         equ     87h
CALL_32         equ     8Ch
CALL_16         equ     84h
TASK_GATE       equ     85h

        section .tables
gdt_image:      dq      0
%macro SELECTOR 1
%1              equ     $ - gdt_image
%endmacro
        SELECTOR CODE_32
                DESCRIPTOR 0, 0FFFFFh, EXECUTE_READ, FLAT
        SELECTOR DATA_32
                DESCRIPTOR 0, 0FFFFFh, READ_WRITE, FLAT
        SELECTOR CODE_16
                DESCRIPTOR 0, 0FFFFh, EXECUTE_READ, SMALL
        SELECTOR DATA_16
                DESCRIPTOR 0, 0FFFFh, READ_WRITE, SMALL
        SELECTOR CODE_LEVEL_1
                DESCRIPTOR 0, 0FFFFFh, EXECUTE_READ | DPL_1, FLAT
        SELECTOR DATA_LEVEL_1
                DESCRIPTOR 0, 0FFFFFh, READ_WRITE | DPL_1, FLAT
        SELECTOR CODE_LEVEL_3
                DESCRIPTOR 0, 0FFFFFh, EXECUTE_READ | DPL_3, FLAT
        SELECTOR DATA_LEVEL_3
                DESCRIPTOR 0, 0FFFFFh, READ_WRITE | DPL_3, FLAT
        SELECTOR CODE_16_LEVEL_3
                DESCRIPTOR 0, 0FFFFh, EXECUTE_READ | DPL_3, SMALL
        SELECTOR CONFORMING
                DESCRIPTOR 0, 0FFFFFh, 9Fh, FLAT
        SELECTOR CONFORMING_LEVEL_3
                DESCRIPTOR 0, 0FFFFFh, 9Fh | DPL_3, FLAT
        SELECTOR EXECUTE_ONLY
                DESCRIPTOR 0, 0FFFFFh, 99h, FLAT
        SELECTOR READ_ONLY
                DESCRIPTOR 0, 0FFFFFh, 91h, FLAT
        SELECTOR DATA_ABSENT
                DESCRIPTOR 0, 0FFFFFh, 13h, FLAT
        SELECTOR CODE_ABSENT
                DESCRIPTOR 0, 0FFFFFh, 1Bh, FLAT
        SELECTOR DATA_FRESH             ; not accessed yet
                DESCRIPTOR 123456h, 789Ah, 92h, BYTES_32
        SELECTOR TSS_SELECTOR
                DESCRIPTOR TSS, 67h, 89h, SMALL
        SELECTOR TSS_B_SELECTOR
                DESCRIPTOR TSS_B, 67h, 89h, SMALL
        SELECTOR TSS_C_SELECTOR
                DESCRIPTOR TSS_C, 67h, 89h, SMALL
        SELECTOR TSS_16_SELECTOR
                DESCRIPTOR TSS_16, 2Bh, 81h, SMALL
        SELECTOR TSS_ABSENT
                DESCRIPTOR TSS_B, 67h, 09h, SMALL
        SELECTOR TSS_SHORT
                DESCRIPTOR TSS_B, 66h, 89h, SMALL
        SELECTOR LDT_SELECTOR
                DESCRIPTOR LDT, 1Fh, 82h, SMALL
        SELECTOR LDT_ABSENT
                DESCRIPTOR LDT, 1Fh, 02h, SMALL
        SELECTOR GATE_SELECTOR          ; for call gates and task gates, filled by tests
                dq      0
        SELECTOR SPARE                  ; for a descriptor of a test's own
                dq      0
        SELECTOR SPARE_2
                dq      0
                align   16, db 0
        SELECTOR SYSENTER_CODE          ; and the three that go with it
                DESCRIPTOR 0, 0FFFFFh, EXECUTE_READ, FLAT
        SELECTOR SYSENTER_STACK
                DESCRIPTOR 0, 0FFFFFh, READ_WRITE, FLAT
        SELECTOR SYSEXIT_CODE
                DESCRIPTOR 0, 0FFFFFh, EXECUTE_READ | DPL_3, FLAT
        SELECTOR SYSEXIT_STACK
                DESCRIPTOR 0, 0FFFFFh, READ_WRITE | DPL_3, FLAT
        SELECTOR BEYOND_GDT

ldt_image:      dq      0
                DESCRIPTOR 0, 0FFFFFh, READ_WRITE, FLAT
                DESCRIPTOR 0, 0FFFFFh, EXECUTE_READ, FLAT
                DESCRIPTOR 0, 0FFFFFh, READ_WRITE | DPL_3, FLAT
LDT_DATA        equ     8 | 4           ; selectors: bit 2 says LDT
LDT_CODE        equ     10h | 4
LDT_DATA_3      equ     18h | 4 | 3
BEYOND_LDT      equ     20h | 4
        align   16, db 0
tables_end:

; A TSS of 32 bits, SDM 3A figure 7-2: offsets.
TSS_LINK        equ     0
TSS_ESP0        equ     4
TSS_SS0         equ     8
TSS_ESP1        equ     12
TSS_SS1         equ     16
TSS_ESP2        equ     20
TSS_SS2         equ     24
TSS_CR3         equ     28
TSS_EIP         equ     32
TSS_EFLAGS      equ     36
TSS_EAX         equ     40
TSS_ESP         equ     56
TSS_ES          equ     72
TSS_CS          equ     76
TSS_SS          equ     80
TSS_DS          equ     84
TSS_FS          equ     88
TSS_GS          equ     92
TSS_LDT         equ     96
TSS_TRAP        equ     100
TSS_IO_MAP      equ     102
TSS_BYTES       equ     104

; One of 16 bits, figure 7-10.
TSS_16_SP0      equ     2
TSS_16_SS0      equ     4
TSS_16_IP       equ     14
TSS_16_FLAGS    equ     16
TSS_16_AX       equ     18
TSS_16_SP       equ     26
TSS_16_ES       equ     34
TSS_16_CS       equ     36
TSS_16_SS       equ     38
TSS_16_DS       equ     40
TSS_16_LDT      equ     42
        section .text
