; A fault while another is being delivered (SDM 3A 6.15, "#DF", tables 6-4 and 6-5).

        CHAPTER "double faults"

        TEST    "#GP on the way of #GP: #DF"
        and     byte [IDT + 8 * 13 + 5], 7Fh    ; an absent gate: #NP
        mov     ax, BEYOND_GDT
        mov     ds, ax
        END
        TEST    "#NP on the way of #UD is served"
        and     byte [IDT + 8 * 6 + 5], 7Fh
        ud2
        END
        TEST    "#NP on the way of #DE: #DF"
        and     byte [IDT + 8 * 0 + 5], 7Fh
        aam     0
        END
        TEST    "#NP on the way of INT 20h is served"
        and     byte [IDT + 8 * 20h + 5], 7Fh
        int     20h
        END
        TEST    "#GP on the way of #NP: #DF"
        SET_IDT_GATE 11, DATA_32, 0, INTERRUPT_32
        mov     ax, DATA_ABSENT
        mov     ds, ax
        END
        TEST    "#TS on the way of #GP from level 3: #DF"
        SET_IDT_GATE 13, CODE_LEVEL_1, landed, INTERRUPT_32
        mov     dword [TSS + TSS_SS1], DATA_32
        TO_LEVEL_3
        hlt
        END
        TEST    "#NP on the way of #PF: #DF"
        PAGING
        and     byte [IDT + 8 * 14 + 5], 7Fh
        mov     eax, [FIRST + 5000h]
        CAUGHT
        mov     eax, cr2
        SHOW    " cr2=", eax
        END
        TEST    "#PF on the way of #PF: #DF"
        PAGING
        mov     dword [TSS + TSS_ESP1], FIRST + 2004h
        SET_IDT_GATE 14, CODE_LEVEL_1, landed, INTERRUPT_32
        TO_LEVEL_3
        mov     eax, [FIRST + 5000h]
        CAUGHT
        mov     eax, cr2
        SHOW    " cr2=", eax
        END
        TEST    "#PF on the way of #GP is served"
        PAGING
        mov     dword [TSS + TSS_ESP1], FIRST + 2004h
        SET_IDT_GATE 13, CODE_LEVEL_1, landed, INTERRUPT_32
        TO_LEVEL_3
        hlt
        CAUGHT
        mov     eax, cr2
        SHOW    " cr2=", eax
        END
        TEST    "#PF on the way of #UD is served"
        PAGING
        mov     dword [TSS + TSS_ESP1], FIRST + 2004h
        SET_IDT_GATE 6, CODE_LEVEL_1, landed, INTERRUPT_32
        TO_LEVEL_3
        ud2
        END
        TEST    "the stack of level 0 is gone: #DF through a task gate"
        NEW_TASK .df_task, ALWAYS
        SET_IDT_GATE 8, TSS_B_SELECTOR, 0, TASK_GATE
        PAGING
        mov     eax, 0D0D0D0Dh
        mov     esp, FIRST + 2004h
        push    eax
.df_task:
        call    tell_task
        call    tell_saved
        SHOW    " e=", [STACK_TASK - 4]
        mov     eax, cr2
        SHOW    " cr2=", eax
        END
        TEST    "#UD with no stack: #PF, then #DF through a task gate"
        NEW_TASK .ud_df_task, ALWAYS
        SET_IDT_GATE 8, TSS_B_SELECTOR, 0, TASK_GATE
        PAGING
        mov     esp, FIRST + 2004h
        ud2
.ud_df_task:
        call    tell_task
        call    tell_saved
        END
        TEST    "two faults one after the other are no double fault"
        mov     dword [returns], 1
        mov     dword [skip], 2
        aam     0
        mov     ax, BEYOND_GDT
        mov     ds, ax
        END

        CHAPTER "SYSENTER and SYSEXIT"

%macro SYSENTER_MSRS 1                  ; what SYSENTER_CS_MSR is to be
        mov     ecx, 174h
        mov     eax, %1
        xor     edx, edx
        wrmsr
        inc     ecx
        mov     eax, STACK_0 - 100h
        wrmsr
        inc     ecx
        mov     eax, sysenter_target
        wrmsr
        xor     ecx, ecx
        xor     eax, eax
%endmacro
        jmp     sysenter_tests

; Log what SYSENTER has made.
sysenter_target:
        pushfd
        pop     ebp
        and     ebp, ~ARITHMETIC
        mov     ebx, esp
        mov     cx, cs
        shl     ecx, 16
        mov     cx, ss
        mov     dx, DATA_32
        mov     ds, dx
        mov     es, dx
        SHOW    " entered cs:ss=", ecx
        SHOW    " esp=", ebx
        SHOW    " fl=", ebp
        cmp     dword [after_sysenter], 0
        je      resume_32
        jmp     dword [after_sysenter]

sysenter_tests:
        TEST    "SYSENTER from level 3"
        mov     dword [after_sysenter], 0
        SYSENTER_MSRS SYSENTER_CODE
        TO_LEVEL_3 IF | IOPL_3 | CF | ALWAYS
        sysenter
        END
        TEST    "SYSENTER from level 0"
        SYSENTER_MSRS SYSENTER_CODE
        sysenter
        END
        TEST    "SYSENTER, the MSR has RPL 3"
        SYSENTER_MSRS SYSENTER_CODE | 3
        TO_LEVEL_3
        sysenter
        END
        TEST    "SYSENTER, the MSR is null"
        SYSENTER_MSRS 0
        TO_LEVEL_3
        sysenter
        END
        TEST    "SYSENTER does not read the descriptors"
        SYSENTER_MSRS 0F00h
        TO_LEVEL_3
        sysenter
        END
        TEST    "SYSENTER from virtual-8086 mode"
        SYSENTER_MSRS SYSENTER_CODE
        TO_V86
        sysenter
        bits    32
        END
        TEST    "SYSEXIT"
        SYSENTER_MSRS SYSENTER_CODE
        mov     ecx, STACK_3 - 80h
        mov     edx, .exited
        sysexit
.exited:
        mov     ax, cs
        mov     bx, ss
        int     BACK_TO_0
        CAUGHT
        SHOW    " cs=", [saved_eax]
        SHOW    " ss=", [saved_ebx]
        END
        TEST    "SYSEXIT, the MSR is null"
        SYSENTER_MSRS 0
        sysexit
        END
        TEST    "SYSENTER, and SYSEXIT back, flags as they were"
        mov     dword [after_sysenter], .inside
        SYSENTER_MSRS SYSENTER_CODE
        TO_LEVEL_3
        stc
        sysenter
.back:  int     BACK_TO_0
.inside:
        mov     ecx, STACK_3
        mov     edx, .back
        push    dword IF | CF | ALWAYS
        popfd
        sysexit
        END
