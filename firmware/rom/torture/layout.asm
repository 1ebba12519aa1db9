; Where things are in memory, the selectors, and the tables as every test finds them.

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

        section .tables
gdt_image:      dq      0
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

        section .text
