; Virtual-8086 mode (SDM 3A chapter 20).

        CHAPTER "virtual-8086 mode"

; Go on in virtual-8086 mode: CS = SS = 0, DS and others of their own.
%macro TO_V86 0-1 0                     ; more EFLAGS
        push    dword VM | ALWAYS | (%1)
        call    to_v86
        bits    16
%endmacro

        jmp     v86_tests

to_v86: pop     dword [to_eip]
        pop     dword [to_eflags]
        push    dword 2400h             ; GS
        push    dword 2300h             ; FS
        push    dword 2200h             ; DS
        push    dword 2100h             ; ES
        push    dword 0                 ; SS
        push    dword STACK_3
        push    dword [to_eflags]
        push    dword 0                 ; CS
        push    dword [to_eip]
        iretd

v86_tests:
%macro IN_V86 3-4                       ; title, EFLAGS, instruction, another
        TEST    %1
        TO_V86  %2
        %3
%if %0 == 4
        %4
%endif
        int     BACK_TO_0
        bits    32
        END
%endmacro

        IN_V86  "INT 30h at IOPL 3", IOPL_3, nop
        IN_V86  "INT 30h at IOPL 0", 0, nop
        IN_V86  "UD2", 0, ud2
        IN_V86  "HLT", IOPL_3, hlt
        IN_V86  "CLI at IOPL 0", 0, cli
        IN_V86  "STI at IOPL 0", 0, sti
        IN_V86  "CLI and STI at IOPL 3", IOPL_3, sti, cli
        IN_V86  "STI at IOPL 3", IOPL_3, sti
        IN_V86  "PUSHF at IOPL 0", 0, pushf
        IN_V86  "POPF at IOPL 0", 0, popf
        IN_V86  "IRET at IOPL 0", 0, iret
        IN_V86  "INT3 at IOPL 0", 0, int3
        IN_V86  "INTO at IOPL 0", OF, into
        IN_V86  "BOUND at IOPL 0", 0, {mov eax, 5}, {bound eax, [0]}
        IN_V86  "AAM 0", 0, aam 0
        IN_V86  "IN at IOPL 0", 0, {in al, 80h}
        IN_V86  "IN at IOPL 3", IOPL_3, {in al, 80h}
        IN_V86  "LGDT", IOPL_3, lgdt [0]
        IN_V86  "LMSW", IOPL_3, lmsw ax
        IN_V86  "SMSW", 0, smsw ax
        IN_V86  "CLTS", IOPL_3, clts
        IN_V86  "MOV from CR0", IOPL_3, {mov eax, cr0}
        IN_V86  "MOV from DR7", IOPL_3, {mov eax, dr7}
        IN_V86  "SLDT is none here", 0, sldt ax
        IN_V86  "nor is LAR", 0, {lar ax, bx}
        IN_V86  "nor is ARPL", 0, {arpl ax, bx}
        IN_V86  "nor is VERR", 0, verr ax
        IN_V86  "RDTSC", 0, rdtsc
        IN_V86  "SYSEXIT", 0, sysexit

        TEST    "PUSHF and POPF at IOPL 3"
        TO_V86  IOPL_3
        push    word IF | NT | OF | CF
        popf
        pushf
        pop     bx
        push    word ALWAYS
        popf
        pushfd
        pop     ecx
        int     BACK_TO_0
        bits    32
        CAUGHT
        SHOW    " ", [saved_ebx]
        SHOW    " ", [saved_ecx]
        END
        TEST    "IRET at IOPL 3"
        TO_V86  IOPL_3
        push    word IF | NT | IOPL_3
        push    word 0
        push    word .v86_iret
        iret
.v86_iret:
        int     BACK_TO_0
        bits    32
        END
        TEST    "segments are 16 times their selectors"
        mov     dword [22000h + 10h], 22222222h
        mov     dword [21000h + 10h], 21212121h
        mov     dword [24000h + 10h], 24242424h
        TO_V86  IOPL_3
        mov     eax, [10h]
        mov     ebx, [es:10h]
        mov     ecx, [gs:10h]
        mov     dx, 1FFFh
        mov     fs, dx
        mov     edx, [fs:2020h]
        int     BACK_TO_0
        bits    32
        CAUGHT
        SHOW    " ", [saved_eax]
        SHOW    " ", [saved_ebx]
        SHOW    " ", [saved_ecx]
        SHOW    " ", [saved_edx]
        END
        TEST    "far CALL and RETF"
        TO_V86  IOPL_3
        call    0:.v86_far
        mov     cx, sp
        int     BACK_TO_0
.v86_far:
        mov     bp, sp
        mov     bx, [bp + 2]
        retf
        bits    32
        CAUGHT
        SHOW    " cs=", [saved_ebx]
        SHOW    " sp=", [saved_ecx]
        END
        TEST    "INT 30h, and IRET back to it"
        mov     dword [returns], 1
        TO_V86  IOPL_3
        mov     ax, 1234h
        int     BACK_TO_0
        inc     ax
        ud2
        bits    32
        CAUGHT
        SHOW    " ", [saved_eax]
        END
        TEST    "the data segments are null in the handler"
        SET_IDT_GATE BACK_TO_0, CODE_32, .nulls, INTERRUPT_32 | DPL_3
        TO_V86  IOPL_3
        int     BACK_TO_0
        bits    32
.nulls: mov     eax, ds
        mov     ebx, es
        mov     ecx, fs
        mov     edx, gs
        mov     esi, DATA_32
        mov     ds, esi
        mov     es, esi
        SHOW    " ", eax
        SHOW    " ", ebx
        SHOW    " ", ecx
        SHOW    " ", edx
        mov     eax, esp
        SHOW    " esp=", eax
        pushfd
        pop     eax
        and     eax, ~ARITHMETIC
        SHOW    " fl=", eax
        END
%macro V86_GATES 4                      ; title, selector, access byte, IOPL
        TEST    %1
        SET_IDT_GATE 20h, %2, landed, %3
        TO_V86  %4
        int     20h
        bits    32
        END
%endmacro
        V86_GATES "a gate of DPL 0", CODE_32, TRAP_32, IOPL_3
        V86_GATES "a gate to conforming code", CONFORMING, TRAP_32 | DPL_3, IOPL_3
        V86_GATES "a gate to level 1", CODE_LEVEL_1, TRAP_32 | DPL_3, IOPL_3
        V86_GATES "a gate to level 3", CODE_LEVEL_3, TRAP_32 | DPL_3, IOPL_3
        V86_GATES "a trap gate", CODE_32, TRAP_32 | DPL_3, IOPL_3 | IF
        V86_GATES "an interrupt gate", CODE_32, INTERRUPT_32 | DPL_3, IOPL_3 | IF
        TEST    "a gate of 16 bits"
        SET_IDT_GATE 20h, CODE_16, landed_16, TRAP_16 | DPL_3
        TO_V86  IOPL_3
        int     20h
        bits    32
        END
        TEST    "a page fault of virtual-8086 mode is level 3's"
        PAGING
        and     byte [PAGE_TABLE + 4 * 22h], ~PAGE_U
        TO_V86
        mov     eax, [10h]
        bits    32
        END
        TEST    "TF in virtual-8086 mode"
        mov     dword [returns], 3
        TO_V86  IOPL_3 | TF
        nop
        inc     ax
        push    word IOPL_3 | ALWAYS
        popf
        int     BACK_TO_0
        bits    32
        END
        TEST    "VM among the flags that level 3 returns to"
        TO_LEVEL_3
        push    dword 2400h
        push    dword 2300h
        push    dword 2200h
        push    dword 2100h
        push    dword 0
        push    dword STACK_3
        push    dword VM | ALWAYS
        push    dword 0
        push    dword .not_v86
        mov     dword [test_base], .not_v86
        iretd
.not_v86:
        ud2
        END
