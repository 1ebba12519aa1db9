; The way into protected mode, and segments there (SDM 3A chapters 3 and 5).

; ---- what the chapters in protected mode share ----

        bits    32

; Put a gate into the IDT, or into the GDT at GATE_SELECTOR.
%macro SET_IDT_GATE 4                   ; vector, selector, offset, access byte
        push    dword IDT + 8 * (%1)
        push    dword (%4) << 8
        push    dword %2
        push    dword %3
        call    set_gate
%endmacro

%macro SET_GATE 3-4 0                   ; selector, offset, access byte, count of parameters
        push    dword GDT + GATE_SELECTOR
        push    dword (%3) << 8 | (%4)
        push    dword %1
        push    dword %2
        call    set_gate
%endmacro

set_gate:
        push    eax
        push    edi
        mov     edi, [esp + 24]
        mov     eax, [esp + 12]         ; offset
        mov     [edi], eax
        mov     [edi + 4], eax
        mov     eax, [esp + 16]         ; selector
        mov     [edi + 2], ax
        mov     eax, [esp + 20]         ; access byte and count
        mov     [edi + 4], ax
        pop     edi
        pop     eax
        ret     16

; Make SPARE a copy of a descriptor, with another access byte.
%macro SET_SPARE 2                      ; selector to copy, access byte
        mov     eax, [GDT + %1]
        mov     [GDT + SPARE], eax
        mov     eax, [GDT + %1 + 4]
        mov     ah, %2
        mov     [GDT + SPARE + 4], eax
%endmacro

; Go on at privilege level 3, with the given EFLAGS.  Changes EAX.
%macro TO_LEVEL_3 0-1 ALWAYS
        push    dword %1
        call    to_level_3
%endmacro

to_level_3:
        mov     eax, DATA_LEVEL_3 | 3
        mov     ds, ax
        mov     es, ax
        pop     dword [to_eip]
        pop     dword [to_eflags]
        push    eax
        push    dword STACK_3
        push    dword [to_eflags]
        push    dword CODE_LEVEL_3 | 3
        push    dword [to_eip]
        mov     eax, 0
        iretd

; Where gates lead, at whatever level: log CS, SS, ESP, EFLAGS and what is on the stack, and go on
; behind CAUGHT.  An outer level asks level 0 to do so, as only that may use the console.
landed: pushfd
        pop     eax
        and     eax, ~ARITHMETIC
        mov     ebx, esp
        mov     cx, cs
        shl     ecx, 16
        mov     cx, ss
        test    ecx, 3 << 16
        jz      landed_inside
        int     OUTSIDE
landed_inside:
        mov     dx, DATA_32
        mov     ds, dx
        mov     es, dx
        SHOW    " landed cs:ss=", ecx
        SHOW    " esp=", ebx
        SHOW    " fl=", eax
        mov     eax, [ebx]              ; the return address, as an offset in the test
        sub     ax, [test_base]
        PRINT   " stack +"
        call    print_hex4_32
        SHOW    " ", [ebx + 4]
        SHOW    " ", [ebx + 8]
        SHOW    " ", [ebx + 12]
        SHOW    " ", [ebx + 16]
        jmp     resume_32

        bits    16
landed_16:
        movzx   esp, sp                 ; as call and interrupt gates of 16 bits arrive here
        jmp     dword CODE_32:landed
        bits    32

        bits    16
protected_chapters:
        cli
        lgdt    [boot_gdt]
        mov     eax, cr0
        or      al, CR0_PE
        mov     cr0, eax
        jmp     dword CODE_32:.in
        bits    32
.in:    mov     ax, DATA_32
        mov     ds, ax
        mov     es, ax
        mov     ss, ax
        mov     esp, STACK_0
        call    tables_anew
        CHAPTER "protected mode"

        TEST    "INT 20h"
        int     20h
        END
        TEST    "INT 20h, and IRET back"
        mov     dword [returns], 1
        int     20h
        END
        TEST    "UD2"
        ud2
        END
        TEST    "INT 3Fh and INT 40h, beyond the IDT's limit"
        mov     dword [returns], 1
        int     3Fh
        int     40h
        END
        TEST    "RF in the EFLAGS that a fault saves"
        ud2
        CAUGHT
        SHOW    " ", [saved_eflags]
        END
        TEST    "INT3, INT1, INTO"
        mov     dword [returns], 2
        int3
        push    dword OF
        popfd
        into
        into
        END
        TEST    "DIV by 0"
        div     ecx
        END
        TEST    "BOUND, beyond"
        mov     dword [scratch], -1
        mov     dword [scratch + 4], 1
        bound   eax, [scratch]
        mov     eax, 2
        bound   eax, [scratch]
        END
        TEST    "FNOP with CR0.TS"
        mov     eax, cr0
        or      al, CR0_TS
        mov     cr0, eax
        fnop
        END
        TEST    "POPFD and PUSHFD of all bits"
        push    dword 0FFFFFFFFh & ~TF
        popfd
        pushfd
        pop     ecx
        push    dword ALWAYS
        popfd
        SHOW    " ", ecx
        END
        TEST    "PUSHF of 16 bits leaves the upper half"
        push    dword 0FFFFFFFFh & ~TF
        popfd
        pushf
        pop     cx
        push    word ALWAYS
        popf
        pushfd
        pop     edx
        push    dword ALWAYS
        popfd
        SHOW_WORD " ", cx
        SHOW    " ", edx
        END
        TEST    "MOV to CR1"
        db      0Fh, 22h, 0C8h
        END
        TEST    "MOV from CR5"
        db      0Fh, 20h, 0E8h
        END
        TEST    "MOV from CR0 with a mode field of 0"
        db      0Fh, 20h, 00h
        SHOW    " ", eax
        END
        TEST    "LMSW does not clear PE"
        mov     ax, CR0_MP
        lmsw    ax
        smsw    ebx
        lmsw    cx
        smsw    ecx
        and     ebx, 0FFFFh
        and     ecx, 0FFFFh
        SHOW    " ", ebx
        SHOW    " ", ecx
        END
        TEST    "MOV from DR4 is DR6"
        mov     eax, dr6
        db      0Fh, 21h, 0E3h          ; MOV EBX, DR4
        SHOW    " ", eax
        SHOW    " ", ebx
        END
        TEST    "and is none with CR4.DE"
        mov     eax, CR4_DE
        mov     cr4, eax
        db      0Fh, 21h, 0E3h
        END
        TEST    "DR6 and DR7 as written, and read back"
        mov     eax, 0FFFFFFFFh
        mov     dr6, eax
        mov     ebx, dr6
        xor     eax, eax
        mov     dr6, eax
        mov     ecx, dr6
        mov     eax, 0FFFF0000h
        mov     dr7, eax
        mov     edx, dr7
        mov     eax, DR7_RESET
        mov     dr7, eax
        SHOW    " ", ebx
        SHOW    " ", ecx
        SHOW    " ", edx
        END
        TEST    "SGDT, SIDT, SLDT, STR"
        sgdt    [scratch]
        sidt    [scratch + 8]
        sldt    eax
        str     ebx
        SHOW_WORD " ", [scratch]
        SHOW    " ", [scratch + 2]
        SHOW_WORD " ", [scratch + 8]
        SHOW    " ", [scratch + 10]
        SHOW    " ", eax
        SHOW    " ", ebx
        END
        TEST    "SLDT and STR to memory: 16 bits"
        mov     dword [scratch], 0FFFFFFFFh
        str     [scratch]
        SHOW    " ", [scratch]
        END
        TEST    "LTR marks the TSS busy"
        SHOW_BYTE " ", [GDT + TSS_SELECTOR + 5]
        SHOW_BYTE " ", [GDT + TSS_B_SELECTOR + 5]
        mov     ax, TSS_B_SELECTOR
        ltr     ax
        SHOW_BYTE " ", [GDT + TSS_B_SELECTOR + 5]
        END
        TEST    "LTR of a busy TSS"
        mov     ax, TSS_SELECTOR
        ltr     ax
        END
        TEST    "LTR of null"
        mov     ax, 3
        ltr     ax
        END
        TEST    "LTR of data"
        mov     ax, DATA_32
        ltr     ax
        END
        TEST    "LTR of an absent TSS"
        mov     ax, TSS_ABSENT
        ltr     ax
        END
        TEST    "LTR beyond the GDT"
        mov     ax, BEYOND_GDT
        ltr     ax
        END
        TEST    "LTR from an LDT"
        mov     ax, LDT_SELECTOR
        lldt    ax
        mov     ax, LDT_DATA
        ltr     ax
        END
        TEST    "LLDT of data"
        mov     ax, DATA_32
        lldt    ax
        END
        TEST    "LLDT of an absent LDT"
        mov     ax, LDT_ABSENT
        lldt    ax
        END
        TEST    "LLDT beyond the GDT"
        mov     ax, BEYOND_GDT + 3
        lldt    ax
        END
        TEST    "LLDT from an LDT"
        mov     ax, LDT_DATA
        lldt    ax
        END
        TEST    "LLDT of null, and SLDT"
        mov     ax, 3
        lldt    ax
        sldt    bx
        SHOW_WORD " ", bx
        END
        TEST    "LGDT of 16 bits takes 24 of the base"
        mov     dword [scratch], 0FF0000h | (BEYOND_GDT - 1)
        mov     word [scratch], BEYOND_GDT - 1
        mov     dword [scratch + 2], 0AB000000h + GDT
        o16 lgdt [scratch]
        sgdt    [scratch + 8]
        SHOW    " ", [scratch + 10]
        END
        TEST    "RDMSR of one that is not there"
        mov     ecx, 0C0DE0000h
        rdmsr
        SHOW    " ", eax
        END
        TEST    "SYSENTER MSRs read as written"
        mov     ecx, 175h
        mov     eax, 12345678h
        wrmsr
        xor     eax, eax
        rdmsr
        mov     ebx, eax
        inc     ecx
        mov     eax, 23456789h
        wrmsr
        xor     eax, eax
        rdmsr
        SHOW    " ", ebx
        SHOW    " ", eax
        END
        TEST    "RDTSC goes forward"
        rdtsc
        mov     ebx, eax
        mov     ecx, edx
        rdtsc
        sub     eax, ebx
        sbb     edx, ecx
        mov     ecx, 0
        js      .backward
        or      eax, edx
        setnz   cl
.backward:
        SHOW_BYTE " ", cl
        END
        TEST    "CPUID: the features that this ROM goes by"
        mov     eax, 1
        cpuid
        and     edx, 03808179h          ; SSE FXSR MMX CMOV SEP CX8 PAE MSR TSC PSE FPU, see below
        SHOW    " ", edx
        END
        TEST    "16-bit code in protected mode"
        jmp     CODE_16:.in_16
        bits    16
.in_16: mov     ax, DATA_16
        mov     ss, ax
        push    word 1234h
        mov     ebx, esp
        int     20h
        bits    32
        CAUGHT
        SHOW    " ", [saved_ebx]
        END
        TEST    "a fault in 16-bit code"
        jmp     CODE_16:.fault_16
        bits    16
.fault_16:
        ud2
        bits    32
        END
        TEST    "a stack of 16 bits: ESP's upper half stays"
        mov     ax, DATA_16
        mov     ss, ax
        mov     esp, 0ABCD0000h
        push    eax
        mov     ebx, esp
        mov     cx, DATA_32
        mov     ss, cx
        mov     esp, STACK_0
        SHOW    " ", ebx
        SHOW    " ", [0FFFCh]
        END
        TEST    "ENTER and LEAVE, nested"
        mov     ebp, STACK_0 - 40h
        mov     dword [STACK_0 - 44h], 11h
        mov     dword [STACK_0 - 48h], 22h
        enter   10h, 3
        mov     eax, esp
        mov     ebx, ebp
        mov     ecx, [ebp - 4]
        mov     edx, [ebp - 12]
        leave
        SHOW    " ", eax
        SHOW    " ", ebx
        SHOW    " ", ecx
        SHOW    " ", edx
        SHOW    " ", ebp
        END
