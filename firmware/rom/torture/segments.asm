; Loading segment registers, and asking about selectors (SDM 3A chapter 5; 2A, MOV, LAR, LSL, VERR).

        CHAPTER "segment registers"

%macro LOADS 4                          ; title, register, selector, a register that has it
        TEST    %1
        mov     eax, %3
        mov     %2, ax
        CAUGHT
        SHOW_WORD " now=", %2
        END
%endmacro

        LOADS   "null to DS", ds, 0, 0
        LOADS   "null, RPL 3, to ES", es, 3, 0
        LOADS   "null to SS", ss, 0, 0
        LOADS   "beyond the GDT to DS", ds, BEYOND_GDT, 0
        LOADS   "beyond the GDT, RPL 3, to FS", fs, BEYOND_GDT | 3, 0
        LOADS   "beyond the GDT to SS", ss, BEYOND_GDT, 0
        LOADS   "FFF8 to GS", gs, 0FFF8h, 0
        LOADS   "of an LDT that is not there, to DS", ds, LDT_DATA, 0
        LOADS   "readable code to DS", ds, CODE_32, 0
        LOADS   "code that cannot be read to DS", ds, EXECUTE_ONLY, 0
        LOADS   "conforming code, RPL 3, to DS", ds, CONFORMING | 3, 0
        LOADS   "data of level 3 to DS", ds, DATA_LEVEL_3, 0
        LOADS   "data of level 3, RPL 3, to DS", ds, DATA_LEVEL_3 | 3, 0
        LOADS   "data of level 0, RPL 3, to DS", ds, DATA_32 | 3, 0
        LOADS   "data of level 1, RPL 2, to DS", ds, DATA_LEVEL_1 | 2, 0
        LOADS   "absent data to DS", ds, DATA_ABSENT, 0
        LOADS   "absent code to DS", ds, CODE_ABSENT, 0
        LOADS   "a TSS to DS", ds, TSS_SELECTOR, 0
        LOADS   "an empty descriptor to DS", ds, SPARE, 0
        LOADS   "read-only data to DS", ds, READ_ONLY, 0
        LOADS   "read-only data to SS", ss, READ_ONLY, 0
        LOADS   "code to SS", ss, CODE_32, 0
        LOADS   "absent data to SS", ss, DATA_ABSENT, 0
        LOADS   "data of level 3 to SS", ss, DATA_LEVEL_3, 0
        LOADS   "data of level 0, RPL 3, to SS", ss, DATA_32 | 3, 0
        LOADS   "a TSS to SS", ss, TSS_SELECTOR, 0

        TEST    "of the LDT to DS"
        mov     ax, LDT_SELECTOR
        lldt    ax
        mov     ax, LDT_DATA
        mov     ds, ax
        mov     bx, ds
        mov     ax, LDT_DATA_3
        mov     ss, ax
        CAUGHT
        SHOW_WORD " ds=", bx
        END
        TEST    "beyond the LDT to DS"
        mov     ax, LDT_SELECTOR
        lldt    ax
        mov     ax, BEYOND_LDT
        mov     ds, ax
        END
        TEST    "the accessed bit is set by a load"
        SHOW_BYTE " ", [GDT + DATA_FRESH + 5]
        mov     ax, DATA_FRESH
        mov     fs, ax
        SHOW_BYTE " ", [GDT + DATA_FRESH + 5]
        mov     eax, [fs:0]
        mov     dword [123456h + 40h], 0FEDCBA98h
        mov     eax, [fs:40h]
        SHOW    " ", eax
        END
        TEST    "and not by LAR, LSL, VERR, VERW"
        mov     ax, DATA_FRESH
        lar     ebx, ax
        lsl     ecx, ax
        verr    ax
        verw    ax
        SHOW_BYTE " ", [GDT + DATA_FRESH + 5]
        SHOW    " ", ebx
        SHOW    " ", ecx
        END
        TEST    "LDS of a bad selector leaves both registers"
        mov     dword [scratch], 77777777h
        mov     word [scratch + 4], BEYOND_GDT
        mov     ebx, 1
        lds     ebx, [scratch]
        CAUGHT
        SHOW    " ", [saved_ebx]
        END
        TEST    "LSS of a bad selector"
        mov     word [scratch + 4], READ_ONLY
        lss     esp, [scratch]
        END
        TEST    "POP DS of a bad selector leaves ESP"
        push    dword BEYOND_GDT
        pop     ds
        END
        TEST    "POP SS of a bad selector"
        push    dword 0
        pop     ss
        END
        TEST    "PUSH of a segment register writes 16 bits of 32"
        mov     dword [STACK_0 - 4], 0FFFFFFFFh
        push    fs
        SHOW    " ", [STACK_0 - 4]
        END
        TEST    "MOV r32 from a segment register clears the upper half"
        mov     eax, 0FFFFFFFFh
        mov     eax, ds
        SHOW    " ", eax
        END
        TEST    "MOV to segment register 6"
        db      8Eh, 0F0h
        END
        TEST    "a read through a null DS, and a write to read-only data"
        mov     ax, READ_ONLY
        mov     fs, ax
        mov     dword [fs:scratch], 31h
        xor     eax, eax
        mov     gs, ax
        mov     ebx, [gs:scratch]
        CAUGHT
        SHOW    " ", ebx
        END
        TEST    "a read beyond a segment's limit"
        mov     ax, DATA_16
        mov     fs, ax
        mov     ebx, [fs:20000h]
        END
        TEST    "ARPL"
        mov     ax, 10h
        mov     bx, 13h
        arpl    ax, bx
        setz    cl
        arpl    ax, bx
        setz    ch
        mov     bx, 1
        arpl    ax, bx
        setz    dl
        SHOW_WORD " ", ax
        SHOW_WORD " ", cx
        SHOW_BYTE " ", dl
        END

; Each selector: what LAR, LSL, VERR and VERW say, to level 0 and to level 3.

%macro ASK 0                            ; EBX: selector; EDI: where the answer goes
        xor     eax, eax
        lar     eax, ebx
        setz    [edi + 8]
        stosd
        xor     eax, eax
        lsl     eax, ebx
        setz    [edi + 5]
        stosd
        verr    bx
        setz    [edi + 2]
        verw    bx
        setz    [edi + 3]
        add     edi, 4
%endmacro

%macro TELL 0
        mov     esi, BUFFER
        mov     ebx, 0
%%next: PRINT   `\n      `
        SHOW_WORD " ", bx
        SHOW    " lar=", [esi]
        SHOW    " lsl=", [esi + 4]
        SHOW    " zf=", [esi + 8]
        add     esi, 12
        add     ebx, 8
        cmp     ebx, BEYOND_GDT
        jbe     %%next
%endmacro

        TEST    "every selector, asked at level 0"
        mov     ax, LDT_SELECTOR
        lldt    ax
        SET_GATE CODE_32, 0, CALL_32 | DPL_3
        mov     edi, BUFFER
        mov     ebx, 0
.ask_0: ASK
        add     ebx, 8
        cmp     ebx, BEYOND_GDT
        jbe     .ask_0
        TELL
        END
        TEST    "every selector, asked at level 3"
        mov     ax, LDT_SELECTOR
        lldt    ax
        SET_GATE CODE_32, 0, CALL_32 | DPL_3
        TO_LEVEL_3
        mov     edi, BUFFER
        mov     ebx, 0
.ask_3: ASK
        add     ebx, 8
        cmp     ebx, BEYOND_GDT
        jbe     .ask_3
        int     BACK_TO_0
        CAUGHT
        TELL
        END
        TEST    "selectors of the LDT"
        mov     ax, LDT_SELECTOR
        lldt    ax
        mov     edi, BUFFER
        mov     ebx, LDT_CODE
        ASK
        mov     ebx, BEYOND_LDT
        ASK
        SHOW    " ", [BUFFER]
        SHOW    " ", [BUFFER + 4]
        SHOW    " ", [BUFFER + 8]
        SHOW    " ", [BUFFER + 20]
        END
        TEST    "LAR of 16 bits"
        mov     eax, -1
        mov     bx, DATA_32
        lar     ax, bx
        SHOW    " ", eax
        END
