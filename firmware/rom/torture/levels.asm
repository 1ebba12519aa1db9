; What level 3 may not do (SDM 3A 5.9; volume 1, 18.5: I/O).

        CHAPTER "privileged instructions"

%macro AT_LEVEL_3 2+
        TEST    %1
        TO_LEVEL_3
        %2
        int     BACK_TO_0
        END
%endmacro
        AT_LEVEL_3 "HLT", hlt
        AT_LEVEL_3 "CLI", cli
        AT_LEVEL_3 "STI", sti
        AT_LEVEL_3 "CLTS", clts
        AT_LEVEL_3 "LGDT", lgdt [gdt_pointer]
        AT_LEVEL_3 "LIDT", lidt [idt_pointer]
        AT_LEVEL_3 "LLDT", lldt ax
        AT_LEVEL_3 "LTR", ltr ax
        AT_LEVEL_3 "LMSW", lmsw ax
        AT_LEVEL_3 "SMSW", smsw ax
        AT_LEVEL_3 "SGDT", sgdt [scratch]
        AT_LEVEL_3 "SIDT", sidt [scratch]
        AT_LEVEL_3 "SLDT", sldt ax
        AT_LEVEL_3 "STR", str ax
        AT_LEVEL_3 "INVD", invd
        AT_LEVEL_3 "WBINVD", wbinvd
        AT_LEVEL_3 "INVLPG", invlpg [eax]
        AT_LEVEL_3 "MOV to CR0", mov cr0, eax
        AT_LEVEL_3 "MOV from CR0", mov eax, cr0
        AT_LEVEL_3 "MOV from CR2", mov eax, cr2
        AT_LEVEL_3 "MOV to CR3", mov cr3, eax
        AT_LEVEL_3 "MOV from CR4", mov eax, cr4
        AT_LEVEL_3 "MOV to DR0", mov dr0, eax
        AT_LEVEL_3 "MOV from DR7", mov eax, dr7
        AT_LEVEL_3 "RDMSR", rdmsr
        AT_LEVEL_3 "WRMSR", wrmsr
        AT_LEVEL_3 "RDPMC", rdpmc
        AT_LEVEL_3 "RDTSC", rdtsc
        AT_LEVEL_3 "SYSEXIT", sysexit
        AT_LEVEL_3 "UD2", ud2
        AT_LEVEL_3 "ARPL", arpl ax, bx
        TEST    "RDTSC with CR4.TSD"
        mov     eax, CR4_TSD
        mov     cr4, eax
        TO_LEVEL_3
        rdtsc
        int     BACK_TO_0
        END
        TEST    "CLI and STI at IOPL 3"
        TO_LEVEL_3 IOPL_3 | ALWAYS
        sti
        cli
        int     BACK_TO_0
        END
        TEST    "POPFD changes neither IF nor IOPL"
        TO_LEVEL_3
        push    dword IF | IOPL_3 | NT | AC | CF
        popfd
        int     BACK_TO_0
        END
        TEST    "POPFD changes IF at IOPL 3, and not IOPL"
        TO_LEVEL_3 IOPL_3 | ALWAYS
        push    dword IF | CF
        popfd
        int     BACK_TO_0
        END
        TEST    "IRET changes neither"
        TO_LEVEL_3
        push    dword IF | IOPL_3 | CF | ALWAYS
        push    dword CODE_LEVEL_3 | 3
        push    dword .by_iret
        iretd
.by_iret:
        int     BACK_TO_0
        END
        TEST    "POPF of 16 bits at level 3"
        TO_LEVEL_3
        push    word IF | IOPL_3 | NT | CF
        popf
        int     BACK_TO_0
        END
        TEST    "AC and CR0.AM: an unaligned read at level 3"
        mov     eax, cr0
        or      eax, CR0_AM
        mov     cr0, eax
        TO_LEVEL_3 AC | ALWAYS
        mov     eax, [scratch + 1]
        int     BACK_TO_0
        END

; I/O.  Port 80h is nobody's, or a POST card's.

%macro PORTS_AT_LEVEL_3 3+
        TEST    %1
        mov     word [TSS + TSS_IO_MAP], TSS_BYTES
        mov     dword [TSS + TSS_BYTES], %2
        mov     dword [TSS + TSS_BYTES + 10h], %2
        mov     dword [TSS + TSS_BYTES + 14h], -1
        mov     word [GDT + TSS_SELECTOR], TSS_BYTES + 18h
        mov     byte [GDT + TSS_SELECTOR + 5], 89h
        mov     ax, TSS_SELECTOR
        ltr     ax
        TO_LEVEL_3
        mov     edx, 80h
        %3
        int     BACK_TO_0
        END
%endmacro
        AT_LEVEL_3 "OUT with no I/O permission map", out 80h, al
        AT_LEVEL_3 "IN with none", in al, 80h
        PORTS_AT_LEVEL_3 "OUT that the map allows", 0, out 80h, al
        PORTS_AT_LEVEL_3 "OUT that it denies", -1, out 80h, al
        PORTS_AT_LEVEL_3 "OUT DX of 32 bits, the last port denied", 8, out dx, eax
        PORTS_AT_LEVEL_3 "OUT DX of 16 bits, allowed", 8, out dx, ax
        PORTS_AT_LEVEL_3 "IN of the port denied", 1, in al, dx
        PORTS_AT_LEVEL_3 "OUTSB that it denies", 1, outsb
        PORTS_AT_LEVEL_3 "INSB that it denies", 1, insb
        TEST    "OUT at IOPL 3"
        TO_LEVEL_3 IOPL_3 | ALWAYS
        out     80h, al
        int     BACK_TO_0
        END
