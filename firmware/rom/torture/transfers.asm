; Going elsewhere: far JMP, CALL and RET, call gates, IRET, interrupt and trap gates
; (SDM 3A 5.8, 6.11, 6.12; volume 2, CALL, JMP, RET, IRET, INT n).

        CHAPTER "far jumps, calls and returns"

%macro JUMPS 2                          ; title, selector
        TEST    %1
        jmp     (%2):%%there
%%there:
        CAUGHT
        mov     ax, cs
        SHOW_WORD " cs=", ax
        jmp     CODE_32:%%end
%%end:
        END
%endmacro
%macro CALLS 2
        TEST    %1
        call    (%2):%%there
%%there:
        mov     eax, esp
        CAUGHT
        mov     ax, cs
        SHOW_WORD " cs=", ax
        SHOW    " ", [STACK_0 - 4]
        jmp     CODE_32:%%end
%%end:
        END
%endmacro
%macro RETURNS_TO 2
        TEST    %1
        push    dword %2
        push    dword %%there
        retf
%%there:
        CAUGHT
        mov     ax, cs
        SHOW_WORD " cs=", ax
        jmp     CODE_32:%%end
%%end:
        END
%endmacro

        JUMPS   "JMP to null", 0
        JUMPS   "JMP beyond the GDT", BEYOND_GDT
        JUMPS   "JMP to code", CODE_32
        JUMPS   "JMP to code that cannot be read", EXECUTE_ONLY
        JUMPS   "JMP to code, RPL 3", CODE_32 | 3
        JUMPS   "JMP to code of level 3", CODE_LEVEL_3
        JUMPS   "JMP to conforming code", CONFORMING
        JUMPS   "JMP to conforming code, RPL 3", CONFORMING | 3
        JUMPS   "JMP to conforming code of level 3", CONFORMING_LEVEL_3
        JUMPS   "JMP to absent code", CODE_ABSENT
        JUMPS   "JMP to data", DATA_32
        JUMPS   "JMP to an LDT", LDT_SELECTOR
        JUMPS   "JMP to an empty descriptor", SPARE
        JUMPS   "JMP to an absent TSS", TSS_ABSENT
        JUMPS   "JMP to a busy TSS", TSS_SELECTOR
        JUMPS   "JMP to a TSS, RPL 3", TSS_B_SELECTOR | 3
        JUMPS   "JMP to a TSS that is too short", TSS_SHORT
        CALLS   "CALL to null", 0
        CALLS   "CALL to code", CODE_32
        CALLS   "CALL to code of level 3", CODE_LEVEL_3
        CALLS   "CALL to conforming code", CONFORMING
        CALLS   "CALL to absent code", CODE_ABSENT
        CALLS   "CALL to data", DATA_32
        CALLS   "CALL beyond the LDT", BEYOND_LDT
        RETURNS_TO "RETF to null", 0
        RETURNS_TO "RETF beyond the GDT", BEYOND_GDT
        RETURNS_TO "RETF to code", CODE_32
        RETURNS_TO "RETF to data", DATA_32
        RETURNS_TO "RETF to absent code", CODE_ABSENT
        RETURNS_TO "RETF to code of level 3, RPL 0", CODE_LEVEL_3
        RETURNS_TO "RETF to conforming code", CONFORMING

        TEST    "the code segment's accessed bit is set by a jump"
        SET_SPARE CODE_32, 9Ah
        jmp     SPARE:.fresh
.fresh: jmp     CODE_32:.fresh_end
.fresh_end:
        SHOW_BYTE " ", [GDT + SPARE + 5]
        END
        TEST    "JMP through the LDT"
        mov     ax, LDT_SELECTOR
        lldt    ax
        jmp     LDT_CODE:.in_ldt
.in_ldt:
        int     20h
        END
        TEST    "an indirect far CALL, and RETF 8"
        mov     dword [scratch], .indirect
        mov     dword [scratch + 4], CODE_32
        push    dword 0
        push    dword 0
        call    far [scratch]
        mov     eax, esp
        SHOW    " ", eax
        jmp     .indirect_end
.indirect:
        retf    8
.indirect_end:
        END
        TEST    "far CALL of 16 bits"
        call    word CODE_32:.call_16
.call_16:
        mov     eax, esp
        SHOW    " ", eax
        SHOW_WORD " ", [STACK_0 - 2]
        END

%macro GATES 4                          ; title, selector in the gate, its access, RPL
        TEST    %1
        SET_GATE %2, landed, %3
        call    (GATE_SELECTOR | %4):0
        END
%endmacro

        GATES   "a call gate", CODE_32, CALL_32, 0
        GATES   "a call gate to code of level 3", CODE_LEVEL_3, CALL_32, 0
        GATES   "a call gate to conforming code", CONFORMING, CALL_32, 0
        GATES   "a call gate, RPL 3", CODE_32, CALL_32, 3
        GATES   "a call gate to data", DATA_32, CALL_32, 0
        GATES   "a call gate to null", 0, CALL_32, 0
        GATES   "a call gate to absent code", CODE_ABSENT, CALL_32, 0
        GATES   "a call gate beyond the GDT", BEYOND_GDT, CALL_32, 0
        GATES   "an absent call gate", CODE_32, CALL_32 & 7Fh, 0

        TEST    "a call gate of 16 bits"
        SET_GATE CODE_16, landed_16, CALL_16
        call    GATE_SELECTOR:0
        END
        TEST    "JMP through a call gate"
        SET_GATE CODE_32, landed, CALL_32
        jmp     GATE_SELECTOR:12345678h
        END

        CHAPTER "between privilege levels"

        TEST    "to level 3, and INT 30h back"
        TO_LEVEL_3
        mov     cx, cs
        mov     dx, ss
        int     BACK_TO_0
        CAUGHT
        SHOW    " ", [saved_ecx]
        SHOW    " ", [saved_edx]
        END
        TEST    "to level 3 by RETF, and parameters off both stacks"
        push    dword 11111111h
        push    dword DATA_LEVEL_3 | 3
        push    dword STACK_3
        push    dword 22222222h
        push    dword 33333333h
        push    dword CODE_LEVEL_3 | 3
        push    dword .by_retf
        retf    8
.by_retf:
        int     BACK_TO_0
        END
        TEST    "segments of level 0 do not outlive the way out"
        mov     ax, DATA_32
        mov     ds, ax
        mov     ax, DATA_LEVEL_3
        mov     es, ax
        mov     ax, CONFORMING
        mov     fs, ax
        mov     ax, READ_ONLY
        mov     gs, ax
        push    dword DATA_LEVEL_3 | 3
        push    dword STACK_3
        push    dword ALWAYS
        push    dword CODE_LEVEL_3 | 3
        push    dword .outlive
        iretd
.outlive:
        mov     ax, ds
        mov     bx, es
        mov     cx, fs
        mov     dx, gs
        int     BACK_TO_0
        CAUGHT
        SHOW    " ds=", [saved_eax]
        SHOW    " es=", [saved_ebx]
        SHOW    " fs=", [saved_ecx]
        SHOW    " gs=", [saved_edx]
        END
%macro OUT_BY_IRET 3                    ; title, CS, SS
        TEST    %1
        push    dword %3
        push    dword STACK_3
        push    dword ALWAYS
        push    dword %2
        push    dword %%there
        iretd
%%there:
        int     BACK_TO_0
        END
%endmacro
        OUT_BY_IRET "IRET to code of level 3, RPL 0", CODE_LEVEL_3, DATA_LEVEL_3 | 3
        OUT_BY_IRET "IRET to code of level 0, RPL 3", CODE_32 | 3, DATA_LEVEL_3 | 3
        OUT_BY_IRET "IRET to conforming code, RPL 3", CONFORMING | 3, DATA_LEVEL_3 | 3
        OUT_BY_IRET "IRET to level 3, SS null", CODE_LEVEL_3 | 3, 0
        OUT_BY_IRET "IRET to level 3, SS null of RPL 3", CODE_LEVEL_3 | 3, 3
        OUT_BY_IRET "IRET to level 3, SS of level 0", CODE_LEVEL_3 | 3, DATA_32
        OUT_BY_IRET "IRET to level 3, SS of RPL 2", CODE_LEVEL_3 | 3, DATA_LEVEL_3 | 2
        OUT_BY_IRET "IRET to level 3, SS is code", CODE_LEVEL_3 | 3, CODE_LEVEL_3 | 3
        OUT_BY_IRET "IRET to level 3, SS beyond the GDT", CODE_LEVEL_3 | 3, BEYOND_GDT | 3
        OUT_BY_IRET "IRET to level 3, CS null", 0, DATA_LEVEL_3 | 3
        OUT_BY_IRET "IRET to level 3, CS beyond the GDT", BEYOND_GDT | 3, DATA_LEVEL_3 | 3
        OUT_BY_IRET "IRET to level 3, CS is data", DATA_LEVEL_3 | 3, DATA_LEVEL_3 | 3
        OUT_BY_IRET "IRET to level 3, CS of 16 bits", CODE_16_LEVEL_3 | 3, DATA_LEVEL_3 | 3
        OUT_BY_IRET "IRET to level 1, SS of level 1", CODE_LEVEL_1 | 1, DATA_LEVEL_1 | 1
        TEST    "IRET to level 3, CS absent"
        SET_SPARE CODE_LEVEL_3, 7Bh
        push    dword DATA_LEVEL_3 | 3
        push    dword STACK_3
        push    dword ALWAYS
        push    dword SPARE | 3
        push    dword .absent
        iretd
.absent:
        END
        TEST    "IRET to level 3, SS absent"
        SET_SPARE DATA_LEVEL_3, 73h
        push    dword SPARE | 3
        push    dword STACK_3
        push    dword ALWAYS
        push    dword CODE_LEVEL_3 | 3
        push    dword .ss_absent
        iretd
.ss_absent:
        END
        TEST    "level 3 cannot return to level 0"
        TO_LEVEL_3
        push    dword ALWAYS
        push    dword CODE_32
        push    dword 0
        iretd
        END
        TEST    "nor by RETF"
        TO_LEVEL_3
        push    dword CODE_32
        push    dword 0
        retf
        END
        TEST    "nor jump there"
        TO_LEVEL_3
        jmp     CODE_32:0
        END
        TEST    "nor load its data"
        TO_LEVEL_3
        mov     ax, DATA_32 | 3
        mov     ds, ax
        END
        TEST    "nor its stack"
        TO_LEVEL_3
        mov     ax, DATA_32
        mov     ss, ax
        END
        TEST    "level 3 in conforming code is level 3"
        TO_LEVEL_3
        jmp     CONFORMING:.still
.still: mov     ax, cs
        cli
        CAUGHT
        SHOW    " cs=", [saved_eax]
        END
        TEST    "INT 20h, a gate of level 0"
        TO_LEVEL_3
        int     20h
        END
        TEST    "INT 3 of two bytes, a gate of level 0"
        TO_LEVEL_3
        db      0CDh, 3
        END
        TEST    "INT3, a gate of level 0"
        TO_LEVEL_3
        int3
        END
        TEST    "INTO, a gate of level 0"
        TO_LEVEL_3 OF | ALWAYS
        into
        END
        TEST    "INT3 and INTO, gates of level 3"
        or      byte [IDT + 8 * 3 + 5], DPL_3
        or      byte [IDT + 8 * 4 + 5], DPL_3
        mov     dword [returns], 1
        TO_LEVEL_3 OF | ALWAYS
        int3
        into
        END
        TEST    "#DE needs no gate of level 3"
        TO_LEVEL_3
        aam     0
        END
        TEST    "INT 30h, the gate absent"
        and     byte [IDT + 8 * BACK_TO_0 + 5], 7Fh
        TO_LEVEL_3
        int     BACK_TO_0
        END
        TEST    "an absent gate of #UD: an error code with EXT?"
        and     byte [IDT + 8 * 6 + 5], 7Fh
        ud2
        END
        TEST    "a gate that is none"
        mov     byte [IDT + 8 * 20h + 5], 8Bh
        int     20h
        END
        TEST    "a call gate in the IDT"
        mov     byte [IDT + 8 * 20h + 5], CALL_32
        int     20h
        END

%macro INTERRUPTS 4                     ; title, level 0 or 3, selector, access byte
        TEST    %1
        SET_IDT_GATE 20h, %3, landed, %4
%if %2
        TO_LEVEL_3 IF | NT | ALWAYS
%else
        push    dword IF | NT | ALWAYS
        popfd
%endif
        int     20h
        END
%endmacro
        INTERRUPTS "an interrupt gate", 0, CODE_32, INTERRUPT_32
        INTERRUPTS "a trap gate", 0, CODE_32, TRAP_32
        INTERRUPTS "an interrupt gate from level 3", 3, CODE_32, INTERRUPT_32 | DPL_3
        INTERRUPTS "a trap gate from level 3", 3, CODE_32, TRAP_32 | DPL_3
        INTERRUPTS "an interrupt gate from level 3 to level 1", 3, CODE_LEVEL_1, TRAP_32 | DPL_3
        INTERRUPTS "from level 3 to level 3", 3, CODE_LEVEL_3, TRAP_32 | DPL_3
        INTERRUPTS "from level 3 to conforming code", 3, CONFORMING, TRAP_32 | DPL_3
        INTERRUPTS "a gate to code of level 3, from level 0", 0, CODE_LEVEL_3, TRAP_32
        INTERRUPTS "a gate to null", 0, 0, TRAP_32
        INTERRUPTS "a gate to data", 0, DATA_32, TRAP_32
        INTERRUPTS "a gate beyond the GDT", 0, BEYOND_GDT, TRAP_32
        INTERRUPTS "a gate to absent code", 0, CODE_ABSENT, TRAP_32
        INTERRUPTS "a gate into an LDT that is not there", 0, LDT_CODE, TRAP_32

        TEST    "a gate of 16 bits"
        SET_IDT_GATE 20h, CODE_16, landed_16, INTERRUPT_16
        int     20h
        END
        TEST    "a gate of 16 bits from level 3"
        SET_IDT_GATE 20h, CODE_16, landed_16, TRAP_16 | DPL_3
        TO_LEVEL_3
        int     20h
        END
        TEST    "an error code by a gate of 16 bits"
        SET_IDT_GATE 0Dh, CODE_16, .error_16, TRAP_16
        mov     ax, BEYOND_GDT
        mov     ds, ax
        bits    16
.error_16:
        jmp     dword CODE_32:.error_32
        bits    32
.error_32:
        mov     eax, esp
        SHOW    " esp=", eax
        SHOW_WORD " ", [eax]
        SHOW    " ", [eax + 4]
        END

%macro INNER_STACKS 2-3 STACK_1         ; title, SS1, ESP1
        TEST    %1
        mov     dword [TSS + TSS_SS1], %2
        mov     dword [TSS + TSS_ESP1], %3
        SET_IDT_GATE 20h, CODE_LEVEL_1, landed, TRAP_32 | DPL_3
        TO_LEVEL_3
        int     20h
        END
%endmacro
        INNER_STACKS "SS1 is fit", DATA_LEVEL_1 | 1
        INNER_STACKS "SS1 is null", 0
        INNER_STACKS "SS1 is null of RPL 1", 1
        INNER_STACKS "SS1 is beyond the GDT", BEYOND_GDT | 1
        INNER_STACKS "SS1 has RPL 0", DATA_LEVEL_1
        INNER_STACKS "SS1 has DPL 0", DATA_32 | 1
        INNER_STACKS "SS1 is code", CODE_LEVEL_1 | 1
        INNER_STACKS "SS1 is a TSS", TSS_SELECTOR | 1
        INNER_STACKS "SS1 is in an LDT that is not there", LDT_DATA | 1
        TEST    "SS1 is read-only"
        SET_SPARE DATA_LEVEL_1, 0B1h
        mov     dword [TSS + TSS_SS1], SPARE | 1
        SET_IDT_GATE 20h, CODE_LEVEL_1, landed, TRAP_32 | DPL_3
        TO_LEVEL_3
        int     20h
        END
        TEST    "SS1 is absent"
        SET_SPARE DATA_LEVEL_1, 33h
        mov     dword [TSS + TSS_SS1], SPARE | 1
        SET_IDT_GATE 20h, CODE_LEVEL_1, landed, TRAP_32 | DPL_3
        TO_LEVEL_3
        int     20h
        END
        TEST    "SS0 is of 16 bits, ESP0 is not"
        mov     dword [TSS + TSS_SS0], DATA_16
        mov     dword [TSS + TSS_ESP0], 0ABCD0000h + STACK_0
        SET_IDT_GATE 20h, CODE_32, .sixteen, TRAP_32 | DPL_3
        TO_LEVEL_3
        int     20h
.sixteen:
        mov     eax, esp
        movzx   esp, sp
        mov     cx, DATA_32
        mov     ss, cx
        mov     ds, cx
        SHOW    " esp=", eax
        SHOW    " ", [STACK_0 - 8]
        END
        TEST    "the TSS ends before SS1"
        mov     word [GDT + TSS_SELECTOR], TSS_SS1 - 1
        mov     byte [GDT + TSS_SELECTOR + 5], 89h
        mov     ax, TSS_SELECTOR
        ltr     ax
        SET_IDT_GATE 20h, CODE_LEVEL_1, landed, TRAP_32 | DPL_3
        TO_LEVEL_3
        int     20h
        END
        TEST    "a stack in a TSS of 16 bits"
        mov     word [TSS_16 + TSS_16_SP0], STACK_0 - 100h
        mov     word [TSS_16 + TSS_16_SS0], DATA_32
        mov     ax, TSS_16_SELECTOR
        ltr     ax
        TO_LEVEL_3
        int     BACK_TO_0
        CAUGHT
        SHOW    " esp=", [saved_esp]
        END

%macro CALLS_IN 4-5 0                   ; title, selector, access byte, RPL, parameters
        TEST    %1
        SET_GATE %2, landed, %3, %5
        TO_LEVEL_3
        push    dword 11111111h
        push    dword 22222222h
        call    (GATE_SELECTOR | %4):0
        END
%endmacro
        CALLS_IN "a call gate from level 3", CODE_32, CALL_32 | DPL_3, 3
        CALLS_IN "with two parameters", CODE_32, CALL_32 | DPL_3, 3, 2
        CALLS_IN "to level 1", CODE_LEVEL_1, CALL_32 | DPL_3, 3, 1
        CALLS_IN "a call gate of level 0", CODE_32, CALL_32, 3
        CALLS_IN "an absent one", CODE_32, (CALL_32 | DPL_3) & 7Fh, 3
        TEST    "a call gate of 16 bits from level 3, with a parameter"
        SET_GATE CODE_16, landed_16, CALL_16 | DPL_3, 1
        TO_LEVEL_3
        push    dword 11112222h
        call    (GATE_SELECTOR | 3):0
        END
        TEST    "JMP through a call gate to another level"
        SET_GATE CODE_32, landed, CALL_32 | DPL_3
        TO_LEVEL_3
        jmp     (GATE_SELECTOR | 3):0
        END
        TEST    "a call gate in, and RETF 8 out"
        SET_GATE CODE_32, .in_gate, CALL_32 | DPL_3, 2
        TO_LEVEL_3
        push    dword 11111111h
        push    dword 22222222h
        call    (GATE_SELECTOR | 3):0
        mov     ebx, esp
        mov     ecx, 5
        int     BACK_TO_0
.in_gate:
        retf    8
        CAUGHT
        SHOW    " esp=", [saved_ebx]
        SHOW    " ecx=", [saved_ecx]
        END
        TEST    "a call gate to level 1, SS1 bad"
        mov     dword [TSS + TSS_SS1], DATA_32
        SET_GATE CODE_LEVEL_1, landed, CALL_32 | DPL_3
        TO_LEVEL_3
        call    (GATE_SELECTOR | 3):0
        END
