; Tasks (SDM 3A chapter 7).

        CHAPTER "tasks"

; TSS_B as a task of 32 bits that begins at an offset; the others as asked for.
%macro NEW_TASK 2                       ; offset, EFLAGS
        push    dword %1
        push    dword %2
        call    new_task
%endmacro

        jmp     task_tests

new_task:
        pushad
        mov     esi, .image
        mov     edi, TSS_B
        mov     ecx, TSS_BYTES / 4
        rep     movsd
        mov     eax, [esp + 40]
        mov     [TSS_B + TSS_EIP], eax
        mov     eax, [esp + 36]
        mov     [TSS_B + TSS_EFLAGS], eax
        popad
        ret     8

        [section .tables]
.image: dd      0, STACK_0, DATA_32, 0, 0, 0, 0, PAGE_DIRECTORY, 0, 0
        dd      0AAAAAAAAh, 0CCCCCCCCh, 0, 0, STACK_TASK, 0, 0, 0
        dd      DATA_32, CODE_32, DATA_32, DATA_32, DATA_LEVEL_3, 0, 0
        dw      0, TSS_BYTES
        __?SECT?__

; Log what a task finds, and what its predecessor has left.
tell_task:
        pushfd
        push    eax
        push    ecx
        PRINT   " task"
        str     ax
        SHOW_WORD " tr=", ax
        sldt    ax
        SHOW_WORD " ldt=", ax
        SHOW    " eax=", [esp + 4]
        SHOW    " ecx=", [esp]
        mov     ax, fs
        SHOW_WORD " fs=", ax
        mov     ax, gs
        SHOW_WORD " gs=", ax
        mov     eax, [esp + 8]
        SHOW    " fl=", eax
        lea     eax, [esp + 16]
        SHOW    " esp=", eax
        mov     eax, cr0
        SHOW_BYTE " cr0=", al
        SHOW_WORD " link=", [TSS_B + TSS_LINK]
        SHOW_BYTE " busy=", [GDT + TSS_SELECTOR + 5]
        SHOW_BYTE " ", [GDT + TSS_B_SELECTOR + 5]
        SHOW_BYTE " ", [GDT + TSS_C_SELECTOR + 5]
        SHOW_BYTE " ", [GDT + TSS_16_SELECTOR + 5]
        pop     ecx
        pop     eax
        popfd
        ret

; Log what was saved of the task that tests run in.
tell_saved:
        push    eax
        mov     eax, [TSS + TSS_EIP]
        sub     eax, [test_base]
        SHOW    " saved eip=+", eax
        mov     eax, [TSS + TSS_EFLAGS]
        and     eax, ~RF
        SHOW    " fl=", eax
        SHOW    " eax=", [TSS + TSS_EAX]
        SHOW    " esp=", [TSS + TSS_ESP]
        SHOW    " cs=", [TSS + TSS_CS]
        SHOW    " fs=", [TSS + TSS_FS]
        pop     eax
        ret

task_tests:
        TEST    "JMP to a TSS"
        NEW_TASK .jumped, ALWAYS | CF
        mov     eax, 11111111h
        jmp     TSS_B_SELECTOR:12345678h
.jumped:
        call    tell_task
        call    tell_saved
        END
        TEST    "CALL to a TSS, and IRET back"
        NEW_TASK .called, ALWAYS
        mov     eax, 11111111h
        call    TSS_B_SELECTOR:0
        call    tell_task
        SHOW    " b's eip=", [TSS_B + TSS_EAX]
        jmp     .called_end
.called:
        call    tell_task
        call    tell_saved
        mov     eax, 0BBBBBBBBh
        iretd
.called_end:
        END
        TEST    "and called again it goes on behind its IRET"
        NEW_TASK .first_time, ALWAYS
        call    TSS_B_SELECTOR:0
        call    TSS_B_SELECTOR:0
        jmp     .twice
.first_time:
        PRINT   " first"
        iretd
        PRINT   " second"
        call    tell_task
        iretd
.twice:
        call    tell_task
        END
        TEST    "JMP through a task gate"
        NEW_TASK .gate_task, ALWAYS
        SET_GATE TSS_B_SELECTOR, 0, TASK_GATE
        jmp     GATE_SELECTOR:0
.gate_task:
        call    tell_task
        END
        TEST    "CALL through a task gate from level 3"
        NEW_TASK .level_3_task, ALWAYS
        SET_GATE TSS_B_SELECTOR, 0, TASK_GATE | DPL_3
        TO_LEVEL_3
        call    (GATE_SELECTOR | 3):0
.level_3_task:
        call    tell_task
        call    tell_saved
        END
        TEST    "CALL to a TSS of level 0 from level 3"
        TO_LEVEL_3
        call    TSS_B_SELECTOR:0
        END
        TEST    "a task gate in the IDT, and IRET back"
        NEW_TASK .interrupt_task, ALWAYS
        SET_IDT_GATE 20h, TSS_B_SELECTOR, 0, TASK_GATE
        mov     eax, 11111111h
        int     20h
        call    tell_task
        jmp     .interrupt_end
.interrupt_task:
        call    tell_task
        call    tell_saved
        iretd
.interrupt_end:
        END
        TEST    "a fault with an error code through a task gate"
        NEW_TASK .fault_task, ALWAYS
        SET_IDT_GATE 13, TSS_B_SELECTOR, 0, TASK_GATE
        mov     ax, BEYOND_GDT
        mov     ds, ax
.fault_task:
        call    tell_task
        call    tell_saved
        SHOW    " e=", [STACK_TASK - 4]
        END
        TEST    "a fault without one"
        NEW_TASK .ud_task, ALWAYS
        SET_IDT_GATE 6, TSS_B_SELECTOR, 0, TASK_GATE
        ud2
.ud_task:
        call    tell_task
        call    tell_saved
        END
        TEST    "INT 20h through a task gate from level 3"
        NEW_TASK .from_3, ALWAYS
        SET_IDT_GATE 20h, TSS_B_SELECTOR, 0, TASK_GATE | DPL_3
        TO_LEVEL_3
        int     20h
.from_3:
        call    tell_task
        call    tell_saved
        END
        TEST    "and from virtual-8086 mode, and back to it"
        NEW_TASK .from_v86, ALWAYS
        SET_IDT_GATE 20h, TSS_B_SELECTOR, 0, TASK_GATE | DPL_3
        TO_V86  IOPL_3
        mov     ax, 1234h
        int     20h
        inc     ax
        int     BACK_TO_0
        bits    32
.from_v86:
        call    tell_task
        call    tell_saved
        iretd
        CAUGHT
        SHOW    " ", [saved_eax]
        END
        TEST    "a task in virtual-8086 mode"
        NEW_TASK .v86_task, ALWAYS | VM
        mov     dword [TSS_B + TSS_CS], 0
        mov     dword [TSS_B + TSS_SS], 0
        mov     dword [TSS_B + TSS_DS], 2200h
        mov     dword [22010h], 2A2A2A2Ah
        jmp     TSS_B_SELECTOR:0
        bits    16
.v86_task:
        mov     ebx, [10h]
        ud2
        bits    32
        CAUGHT
        SHOW    " ", [saved_ebx]
        END
        TEST    "a task of level 3"
        NEW_TASK .task_3, ALWAYS
        mov     dword [TSS_B + TSS_CS], CODE_LEVEL_3 | 3
        mov     dword [TSS_B + TSS_SS], DATA_LEVEL_3 | 3
        mov     dword [TSS_B + TSS_DS], DATA_LEVEL_3 | 3
        mov     dword [TSS_B + TSS_ES], 0
        jmp     TSS_B_SELECTOR:0
.task_3:
        ud2
        END

; ---- 16 bits ----

%macro NEW_TASK_16 1
        push    dword %1
        call    new_task_16
%endmacro

        jmp     tests_of_16_bits

new_task_16:
        mov     esi, .image
        mov     edi, TSS_16
        mov     ecx, 2Ch / 2
        rep     movsw
        mov     eax, [esp + 4]
        mov     [TSS_16 + TSS_16_IP], ax
        xor     eax, eax
        ret     4

        [section .tables]
.image: dw      0, 0, 0, 0, 0, 0, 0, 0, ALWAYS
        dw      0AAAAh, 0CCCCh, 0, 0, STACK_TASK, 0, 0, 0
        dw      DATA_32, CODE_32, DATA_32, DATA_32, 0
        __?SECT?__

tests_of_16_bits:
        TEST    "JMP to a TSS of 16 bits"
        NEW_TASK_16 .jumped_16
        jmp     TSS_16_SELECTOR:0
.jumped_16:
        movzx   esp, sp                 ; the upper halves are undefined
        movzx   eax, ax
        movzx   ecx, cx
        call    tell_task
        call    tell_saved
        END
        TEST    "CALL to a TSS of 16 bits, and IRET back"
        NEW_TASK_16 .called_16
        mov     eax, 11111111h
        call    TSS_16_SELECTOR:0
        call    tell_task
        jmp     .called_16_end
.called_16:
        movzx   esp, sp
        movzx   eax, ax
        movzx   ecx, cx
        call    tell_task
        SHOW_WORD " link=", [TSS_16]
        iretd
.called_16_end:
        END
        TEST    "an interrupt through a task gate to 16 bits"
        NEW_TASK_16 .interrupt_16
        SET_IDT_GATE 20h, TSS_16_SELECTOR, 0, TASK_GATE
        mov     eax, 11111111h
        int     20h
        call    tell_task
        jmp     .interrupt_16_end
.interrupt_16:
        movzx   esp, sp
        movzx   eax, ax
        movzx   ecx, cx
        call    tell_task
        SHOW_WORD " link=", [TSS_16]
        iretd
.interrupt_16_end:
        END

; ---- what may go wrong ----

%macro BAD_TASK 3+                      ; title, how to go there, what is wrong
        TEST    %1
        NEW_TASK landed, ALWAYS
        SET_IDT_GATE 20h, TSS_B_SELECTOR, 0, TASK_GATE
        mov     dword [test_base], NO_EIP       ; QEMU 7.2 gets it wrong, from where the code is
        %3
        %2
        CAUGHT
        str     ax
        SHOW_WORD " tr=", ax
        SHOW_BYTE " busy=", [GDT + TSS_SELECTOR + 5]
        SHOW_BYTE " ", [GDT + TSS_B_SELECTOR + 5]
        SHOW_WORD " link=", [TSS_B]
        END
%endmacro
%define BY_JMP  jmp TSS_B_SELECTOR:0
%define BY_INT  int 20h
        BAD_TASK "JMP: an LDT beyond the GDT", BY_JMP, mov dword [TSS_B + TSS_LDT], BEYOND_GDT
        BAD_TASK "JMP: an LDT that is data", BY_JMP, mov dword [TSS_B + TSS_LDT], DATA_32
        BAD_TASK "JMP: CS null", BY_JMP, mov dword [TSS_B + TSS_CS], 0
        BAD_TASK "JMP: CS is data", BY_JMP, mov dword [TSS_B + TSS_CS], DATA_32
        BAD_TASK "JMP: CS absent", BY_JMP, mov dword [TSS_B + TSS_CS], CODE_ABSENT
        BAD_TASK "JMP: SS null", BY_JMP, mov dword [TSS_B + TSS_SS], 0
        BAD_TASK "JMP: SS of level 3", BY_JMP, mov dword [TSS_B + TSS_SS], DATA_LEVEL_3
        BAD_TASK "JMP: SS absent", BY_JMP, mov dword [TSS_B + TSS_SS], DATA_ABSENT
        BAD_TASK "JMP: DS beyond the GDT", BY_JMP, mov dword [TSS_B + TSS_DS], BEYOND_GDT
        BAD_TASK "JMP: DS absent", BY_JMP, mov dword [TSS_B + TSS_DS], DATA_ABSENT
        BAD_TASK "JMP: ES cannot be read", BY_JMP, mov dword [TSS_B + TSS_ES], EXECUTE_ONLY
        BAD_TASK "task gate: an LDT beyond the GDT", BY_INT, mov dword [TSS_B + TSS_LDT], BEYOND_GDT
        BAD_TASK "task gate: an LDT that is data", BY_INT, mov dword [TSS_B + TSS_LDT], DATA_32
        BAD_TASK "task gate: CS null", BY_INT, mov dword [TSS_B + TSS_CS], 0
        BAD_TASK "task gate: CS is data", BY_INT, mov dword [TSS_B + TSS_CS], DATA_32
        BAD_TASK "task gate: CS absent", BY_INT, mov dword [TSS_B + TSS_CS], CODE_ABSENT
        BAD_TASK "task gate: SS of level 3", BY_INT, mov dword [TSS_B + TSS_SS], DATA_LEVEL_3
        BAD_TASK "task gate: SS absent", BY_INT, mov dword [TSS_B + TSS_SS], DATA_ABSENT
        BAD_TASK "task gate: DS beyond the GDT", BY_INT, mov dword [TSS_B + TSS_DS], BEYOND_GDT
        BAD_TASK "task gate: DS absent", BY_INT, mov dword [TSS_B + TSS_DS], DATA_ABSENT

%macro BAD_GATE 2
        TEST    %1
        SET_IDT_GATE 20h, %2, 0, TASK_GATE
        int     20h
        END
%endmacro
        BAD_GATE "a task gate to null", 0
        BAD_GATE "a task gate to a busy TSS", TSS_SELECTOR
        BAD_GATE "a task gate to code", CODE_32
        BAD_GATE "a task gate to an absent TSS", TSS_ABSENT
        BAD_GATE "a task gate to a short TSS", TSS_SHORT
        BAD_GATE "a task gate to a TSS in an LDT", LDT_DATA
        BAD_GATE "a task gate beyond the GDT", BEYOND_GDT
        TEST    "IRET with NT and a link to nothing"
        push    dword NT | ALWAYS
        popfd
        iretd
        END
        TEST    "IRET with NT and a link to a TSS that is not busy"
        mov     word [TSS], TSS_B_SELECTOR
        push    dword NT | ALWAYS
        popfd
        iretd
        END
        TEST    "a task of another CR3"
        PAGING
        NEW_TASK .other_cr3, ALWAYS
        mov     dword [TSS_B + TSS_CR3], 30000h
        mov     esi, PAGE_DIRECTORY
        mov     edi, 30000h
        mov     ecx, 1024
        rep     movsd
        mov     dword [30004h], 0
        mov     dword [TSS + TSS_CR3], PAGE_DIRECTORY
        mov     eax, [FIRST]
        call    TSS_B_SELECTOR:0
        mov     ebx, cr3
        SHOW    " cr3=", ebx
        mov     eax, [FIRST]
        SHOW    " ", eax
        jmp     .other_cr3_end
.other_cr3:
        mov     ebx, cr3
        SHOW    " cr3=", ebx
        mov     dword [returns], 1
        mov     dword [skip], 5
        mov     eax, [FIRST]
        iretd
.other_cr3_end:
        END
        TEST    "the T flag of a TSS"
        NEW_TASK .t_flag, ALWAYS
        mov     word [TSS_B + TSS_TRAP], 1
        jmp     TSS_B_SELECTOR:0
.t_flag:
        nop
        END
        TEST    "CR0.TS is set by a task switch, and #NM follows"
        NEW_TASK .ts_flag, ALWAYS
        jmp     TSS_B_SELECTOR:0
.ts_flag:
        fnop
        END
        TEST    "DR7's local bits are cleared by a task switch"
        NEW_TASK .dr7_task, ALWAYS
        mov     eax, DR7_RESET | 0FFh
        mov     dr7, eax
        jmp     TSS_B_SELECTOR:0
.dr7_task:
        mov     ebx, dr7
        mov     eax, DR7_RESET
        mov     dr7, eax
        SHOW    " ", ebx
        END
