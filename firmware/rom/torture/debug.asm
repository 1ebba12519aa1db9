; Debugging: TF, breakpoints, RF (SDM 3B chapter 17).

        CHAPTER "single step and breakpoints"

%macro TRACED 2+                        ; title, instructions; they end with TF off
        TEST    %1
        mov     dword [returns], 20
        push    dword TF | ALWAYS
        popfd
        %2
        push    dword ALWAYS
        popfd
        END
%endmacro

        TRACED  "TF: NOP", nop
        TRACED  "TF: a jump", jmp short $ + 2
        TRACED  "TF: MOV DS does not", mov ds, cx
        TRACED  "TF: LSS", lss esp, [stack_pointer]
        TRACED  "TF: STI", sti
        TRACED  "TF: PUSHFD stores TF", pushfd
        TRACED  "TF: REP of no iterations", rep movsb
        TRACED  "TF: CPUID", cpuid
        TRACED  "TF: MOV to CR3", mov cr3, eax
        TRACED  "TF: IN", in al, 80h
        TRACED  "TF: INT 20h clears it for the handler", int 20h
        [section .tables]
stack_pointer:  dd      STACK_0
                dd      DATA_32
        __?SECT?__

        TEST    "TF: MOV SS, and the instruction behind it"
        mov     dword [returns], 20
        mov     ax, ss
        push    dword TF | ALWAYS
        popfd
        mov     ss, ax
        inc     ecx
        inc     ecx
        push    dword ALWAYS
        popfd
        END
        TEST    "TF: REP MOVSD"
        mov     dword [returns], 20
        mov     esi, BUFFER
        mov     edi, BUFFER
        mov     ecx, 3
        push    dword TF | ALWAYS
        popfd
        rep     movsd
        push    dword ALWAYS
        popfd
        CAUGHT
        SHOW    " ecx=", [saved_ecx]
        END
        TEST    "TF at level 3: INT 30h ends it"
        mov     dword [returns], 2
        TO_LEVEL_3 TF | ALWAYS
        nop
        inc     eax
        int     BACK_TO_0
        END
        TEST    "TF set by IRET"
        mov     dword [returns], 20
        push    dword TF | ALWAYS
        push    dword CODE_32
        push    dword .traced
        iretd
.traced:
        nop
        push    dword ALWAYS
        popfd
        END

; A breakpoint at an instruction, by DR0 to DR3.
%macro BREAK 3                          ; number, where, bits of DR7
        mov     eax, %2
        mov     dr%1, eax
        mov     eax, DR7_RESET | (%3)
        mov     dr7, eax
        xor     eax, eax
%endmacro

        TEST    "DR0, local"
        BREAK   0, .at_0, 1
        nop
.at_0:  inc     eax
        inc     eax
        END
        TEST    "DR1, global"
        BREAK   1, .at_1, 8
        nop
.at_1:  inc     eax
        END
        TEST    "DR2"
        BREAK   2, .at_2, 10h
.at_2:  nop
        END
        TEST    "DR3"
        BREAK   3, .at_3, 40h
        nop
.at_3:  nop
        END
        TEST    "two that match, one of them not enabled"
        BREAK   0, .at_both, 0
        BREAK   1, .at_both, 4
        nop
.at_both:
        nop
        END
        TEST    "a breakpoint that is not enabled"
        BREAK   0, .not_enabled, 0
        nop
.not_enabled:
        nop
        END
        TEST    "a breakpoint within an instruction is none"
        BREAK   0, .within + 1, 1
        nop
.within:
        mov     eax, 12345678h
        END
        TEST    "RF: the instruction is passed once, and the next time it breaks again"
        BREAK   0, .loop_start, 1
        mov     ecx, 2
        mov     dword [returns], 5
        SET_IDT_GATE 1, CODE_32, .resume_flag, INTERRUPT_32
        xor     edx, edx
.loop_start:
        inc     eax
        loop    .loop_start
        SHOW    " eax=", eax
        SHOW    " breaks=", edx
        jmp     .loop_end
.resume_flag:
        inc     edx
        or      dword [esp + 8], RF
        iretd
.loop_end:
        END
        TEST    "RF is gone behind one instruction"
        SET_IDT_GATE 1, CODE_32, .keep, INTERRUPT_32
        BREAK   0, .keep_0, 5
        mov     eax, .keep_1
        mov     dr1, eax
        xor     edx, edx
.keep_0:
        nop
.keep_1:
        nop
        SHOW    " breaks=", edx
        jmp     .keep_end
.keep:  inc     edx
        or      dword [esp + 8], RF
        iretd
.keep_end:
        END
        TEST    "DR7.GD: MOV DR faults"
        mov     eax, DR7_RESET | 1 << 13
        mov     dr7, eax
        mov     ebx, dr0
        END
        TEST    "a breakpoint and TF at one instruction"
        BREAK   0, .both, 1
        mov     dword [returns], 2
        push    dword TF | ALWAYS
        popfd
.both:  nop
        push    dword ALWAYS
        popfd
        END
        TEST    "a data breakpoint, write"
        BREAK   0, scratch, 000D0001h
        mov     dword [returns], 2
        mov     ebx, [scratch]
        mov     [scratch], eax
        nop
        END
        TEST    "a data breakpoint, read or write"
        BREAK   0, scratch, 000F0001h
        mov     dword [returns], 2
        mov     ebx, [scratch]
        nop
        END
