; What ends the processor's run and begins it anew: shutdown (SDM 3A 6.15, "#DF"), and port 92h.
;
; RAM survives a reset, and `after_reset` in it says where to go on; each start of the ROM looks there.

%macro AFTER_RESET 1
        mov     dword [after_reset], %1
%endmacro

; Log what the reset has left in registers, as power_on has found them.
%macro SHOW_RESET 0
        AFTER_RESET unexpected
        PRINT   " reset"
        SHOW    " cr0=", [reset_cr0]
        SHOW    " cr3=", [reset_cr3]
        SHOW    " cr4=", [reset_cr4]
        SHOW    " dr7=", [reset_dr7]
        SHOW    " fl=", [reset_eflags]
        SHOW_WORD " idt=", [reset_idt]
        SHOW    ":", [reset_idt + 2]
        call    end_of_line16
%endmacro

%macro TO_PROTECTED 0
        lgdt    [boot_gdt]
        mov     eax, cr0
        or      al, CR0_PE
        mov     cr0, eax
        jmp     dword CODE_32:%%in
        bits    32
%%in:   mov     ax, DATA_32
        mov     ds, ax
        mov     es, ax
        mov     ss, ax
        mov     esp, STACK_0
        call    tables_anew
%endmacro

        CHAPTER "shutdown and reset"

        TEST    "no IDT: #GP, #DF, shutdown"
        AFTER_RESET reset_1
        lidt    [no_idt]
        int     20h
        END
        bits    16
reset_1:
        SHOW_RESET
        TO_PROTECTED
        TEST    "no stack under paging: #PF, #DF, shutdown"
        AFTER_RESET reset_2
        PAGING  CR4_PSE
        mov     eax, DR7_RESET | 3
        mov     dr7, eax
        mov     esp, FIRST + 2004h
        push    eax
        END
        bits    16
reset_2:
        SHOW_RESET
        TO_PROTECTED
        TEST    "at level 3, and the task of #DF is busy"
        AFTER_RESET reset_3
        SET_IDT_GATE 8, TSS_SELECTOR, 0, TASK_GATE
        mov     dword [TSS + TSS_SS0], DATA_LEVEL_1
        TO_LEVEL_3
        ud2
        END
        bits    16
reset_3:
        SHOW_RESET
        TO_PROTECTED
        TEST    "bit 0 of port 92h"
        AFTER_RESET reset_4
        PAGING
        in      al, PORT_92
        or      al, PORT_92_RESET
        out     PORT_92, al
.wait:  jmp     .wait
        END
        bits    16
reset_4:
        SHOW_RESET
        TEST    "no IVT in real mode"
        AFTER_RESET reset_5
        lidt    [no_idt]
        int     20h
        END
reset_5:
        SHOW_RESET
        TO_PROTECTED
        jmp     the_end

        bits    16
; A cold start is one that no earlier start of this run has gone before.
cold_start:
        mov     dword [running], RUNNING
        AFTER_RESET unexpected
        jmp     real_chapters

unexpected:
        PRINT   `\na reset that no test asked for\n`
        mov     al, 1
        out     DEBUG_EXIT, al
        cli
        hlt

        [section .tables]
no_idt:         dw      0
                dd      0
        __?SECT?__
