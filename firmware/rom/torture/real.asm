; Real-address mode, and what a stay in protected mode leaves behind (SDM 3A chapter 20, 9.9).

        bits    16

; Copy code from LABEL_1 to LABEL_2 of this text to SEGMENT:OFFSET.  Changes ES, ESI, EDI, ECX, EAX.
%macro PLACE_16 4
        mov     ax, %3
        mov     es, ax
        mov     esi, %1
        mov     edi, %4
        mov     ecx, %2 - %1
        rep     movsb
%endmacro

; Log FLAGS less the arithmetic ones.
%macro SHOW_FLAGS_16 1
        pushfd
        pop     dword [real_flags]
        SHOW    %1, [real_flags]
%endmacro

real_chapters:
        xor     ax, ax
        mov     ds, ax
        mov     ss, ax
        mov     sp, STACK_0
        CHAPTER "real mode"

        TEST    "INT 20h"
        int     20h
        END
        TEST    "INT 20h with IF, CF and OF"
        push    word IF | CF | OF
        popf
        int     20h
        END
        TEST    "INT3"
        int3
        END
        TEST    "INT 3 of two bytes"
        db      0CDh, 3
        END
        TEST    "INT1"
        db      0F1h
        END
        TEST    "INTO without OF"
        into
        END
        TEST    "INTO with OF"
        push    word OF
        popf
        into
        END
        TEST    "INT 20h, and IRET back"
        mov     dword [returns], 1
        int     20h
        END
        TEST    "BOUND at both limits, and beyond"
        mov     dword [scratch], 0005FFFBh      ; -5 to 5
        mov     ax, 5
        bound   ax, [scratch]
        mov     ax, -5
        bound   ax, [scratch]
        dec     ax
        bound   ax, [scratch]
        END
        TEST    "BOUND with a register"
        db      62h, 0C0h
        END
        TEST    "DIV by 0"
        mov     cl, 0
        div     cl
        END
        TEST    "DIV with a quotient of 100h"
        mov     ax, 200h
        mov     cl, 2
        div     cl
        END
        TEST    "IDIV with a quotient of 80000000h"
        mov     edx, 40000000h
        mov     ecx, 80000000h
        idiv    ecx
        SHOW    " ", eax
        mov     eax, 0
        mov     edx, 40000000h
        mov     ecx, 7FFFFFFFh
        idiv    ecx
        END
        TEST    "AAM 0"
        mov     al, 55h
        aam     0
        END
        TEST    "UD2"
        ud2
        END
        TEST    "MOV CS, AX"
        db      8Eh, 0C8h
        END
        TEST    "FFh with a register field of 7"
        db      0FFh, 0F8h
        END
        TEST    "LES with a register"
        db      0C4h, 0C0h
        END
        TEST    "ARPL is none here"
        db      63h, 0C0h
        END
        TEST    "nor is SLDT"
        sldt    ax
        END
        TEST    "nor is LTR"
        ltr     ax
        END
        TEST    "nor is LAR"
        lar     ax, bx
        END
        TEST    "nor is VERR"
        verr    ax
        END
        TEST    "LOCK NOP"
        db      0F0h, 90h
        END
        TEST    "LOCK MOV"
        db      0F0h, 89h, 06h            ; the operand is a word, and follows
        dw      scratch
        END
        TEST    "LOCK INC of a register"
        db      0F0h, 0FFh, 0C0h
        END
        TEST    "LOCK INC of memory"
        mov     dword [scratch], 41h
        lock inc dword [scratch]
        SHOW    " mem=", [scratch]
        END
        TEST    "15 bytes of one instruction"
        times 14 ds
        nop
        END
        TEST    "16 bytes of one instruction"
        times 15 ds
        nop
        END
        TEST    "FNOP with CR0.TS"
        mov     eax, cr0
        or      al, CR0_TS
        mov     cr0, eax
        fnop
        CAUGHT
        clts
        END
        TEST    "WAIT with CR0.TS"
        mov     eax, cr0
        or      al, CR0_TS
        mov     cr0, eax
        fwait
        CAUGHT
        clts
        END
        TEST    "WAIT with CR0.TS and CR0.MP"
        mov     eax, cr0
        or      al, CR0_TS | CR0_MP
        mov     cr0, eax
        fwait
        CAUGHT
        mov     eax, cr0
        and     al, ~(CR0_TS | CR0_MP) & 0FFh
        mov     cr0, eax
        END
        TEST    "FNOP with CR0.EM"
        mov     eax, cr0
        or      al, CR0_EM
        mov     cr0, eax
        fnop
        CAUGHT
        mov     eax, cr0
        and     al, ~CR0_EM & 0FFh
        mov     cr0, eax
        END
        TEST    "INT 20h beyond the IVT's limit"
        lidt    [short_ivt]
        int     20h
        CAUGHT
        lidt    [ivt_pointer]
        END
        TEST    "POPF and PUSHF of all bits"
        push    word 0FFFFh & ~TF
        popf
        pushf
        pop     cx
        push    word 0
        popf
        pushf
        pop     dx
        push    word ALWAYS
        popf
        SHOW_WORD " ", cx
        SHOW_WORD " ", dx
        END
        TEST    "POPFD and PUSHFD of all bits"
        push    dword 0FFFFFFFFh & ~TF
        popfd
        pushfd
        pop     ecx
        push    dword 0
        popfd
        pushfd
        pop     edx
        push    dword ALWAYS
        popfd
        SHOW    " ", ecx
        SHOW    " ", edx
        END
        TEST    "IRET with all flags but TF"
        push    word 0FFFFh & ~TF
        push    cs
        push    word .iret
        iret
.iret:  pushfd
        pop     ecx
        push    dword ALWAYS
        popfd
        mov     bx, sp
        SHOW    " ", ecx
        SHOW_WORD " sp=", bx
        END
        TEST    "IRETD with all flags but TF and VM"
        push    dword 0FFFFFFFFh & ~TF & ~VM
        push    dword 0
        push    dword .iretd
        iretd
.iretd: pushfd
        pop     ecx
        push    dword ALWAYS
        popfd
        mov     bx, sp
        SHOW    " ", ecx
        SHOW_WORD " sp=", bx
        END
        TEST    "IRETD with VM"
        push    dword VM | ALWAYS
        push    dword 0
        push    dword .iretd_vm
        iretd
.iretd_vm:
        pushfd
        pop     ecx
        SHOW    " ", ecx
        END
        TEST    "PUSH and POP with SP 0"
        mov     sp, 0
        push    word 1234h
        mov     bx, sp
        pop     ax
        mov     cx, sp
        mov     sp, STACK_0
        SHOW_WORD " ", bx
        SHOW_WORD " ", cx
        SHOW_WORD " ", ax
        END
        TEST    "PUSHA and POPA with SP 0008"
        mov     ax, ss
        mov     bx, 2000h
        mov     ss, bx
        mov     sp, 8
        pusha
        mov     cx, sp
        popa
        mov     dx, sp
        mov     ss, ax
        mov     sp, STACK_0
        SHOW_WORD " ", cx
        SHOW_WORD " ", dx
        END
        TEST    "PUSH SP, PUSHAD, POPAD"
        push    sp
        pop     ax
        mov     ebx, 0BBBBBBBBh
        mov     edi, 0DDDDDDDDh
        pushad
        mov     ebx, [STACK_0 - 20]
        popad
        mov     ecx, esp
        SHOW_WORD " ", ax
        SHOW    " ", ebx
        SHOW    " ", ecx
        SHOW    " ", edi
        END
        TEST    "a jump wraps at 64 KiB"
        PLACE_16 .wrap_jump, .wrap_jump_end, 3000h, 0FFF0h
        PLACE_16 .wrap_here, .wrap_here_end, 3000h, 12h
        PLACE_16 .wrap_not, .wrap_not_end, 4000h, 12h
        mov     word [test_base], 0
        jmp     3000h:0FFF0h
.wrap_jump:
        jmp     short $ + 22h
.wrap_jump_end:
.wrap_here:
        int     20h
.wrap_here_end:
.wrap_not:
        int     21h
.wrap_not_end:
        END
        TEST    "CALL wraps at 64 KiB"
        PLACE_16 .call_wrap, .call_wrap_end, 3000h, 0FFF0h
        PLACE_16 .wrap_here, .wrap_here_end, 3000h, 12h
        mov     word [test_base], 0
        jmp     3000h:0FFF0h
.call_wrap:
        call    near $ + 22h
.call_wrap_end:
        CAUGHT
        SHOW_WORD " pushed=", [STACK_0 - 2]
        END
        TEST    "a far CALL, and RETF 4"
        push    dword 0
        call    1000h - 1000h:.far_call
.far_called:
        mov     dx, sp
        SHOW_WORD " ", bx
        SHOW_WORD " ", cx
        SHOW_WORD " ", dx
        jmp     .far_end
.far_call:
        mov     bp, sp
        mov     bx, [bp]
        sub     bx, .far_called
        mov     cx, [bp + 2]
        retf    4
.far_end:
        END
        TEST    "a far CALL through memory, to another segment"
        mov     word [scratch], .far_other - 1000h
        mov     word [scratch + 2], 100h
        mov     word [test_base], .far_other - 1000h
        call    far [scratch]
        jmp     .far_other_end
.far_other:
        mov     ax, cs
        int     20h
.far_other_end:
        END
        TEST    "MOV SS, LSS, LFS, LGS"
        mov     dword [scratch], 20001234h
        lfs     bx, [scratch]
        lgs     ecx, [scratch - 2]
        mov     ax, fs
        mov     dx, gs
        lss     sp, [scratch]
        mov     si, ss
        xor     di, di
        mov     ss, di
        mov     sp, STACK_0
        SHOW_WORD " ", ax
        SHOW_WORD " ", bx
        SHOW_WORD " ", dx
        SHOW    " ", ecx
        SHOW_WORD " ", si
        END
        TEST    "segment overrides, and BP's segment"
        mov     ax, 2000h
        mov     es, ax
        mov     ax, 2100h
        mov     fs, ax
        mov     ax, 2200h
        mov     gs, ax
        mov     byte [es:10h], 1Eh
        mov     byte [fs:10h], 1Fh
        mov     byte [gs:10h], 10h
        mov     bp, 10h
        mov     al, [es:bp]
        mov     bl, [fs:bp]
        mov     cl, [gs:bp]
        mov     byte [STACK_0 - 40h], 55h
        mov     bp, STACK_0 - 40h
        mov     dl, [bp]
        SHOW_BYTE " ", al
        SHOW_BYTE " ", bl
        SHOW_BYTE " ", cl
        SHOW_BYTE " ", dl
        END
        TEST    "MOVSB wraps SI and DI"
        mov     ax, 2000h
        mov     ds, ax
        mov     es, ax
        mov     dword [0FFFCh], 44332211h
        mov     dword [0], 88776655h
        mov     si, 0FFFCh
        mov     di, 0FFFEh
        mov     cx, 6
        rep     movsb
        mov     eax, [0]
        mov     bx, 0
        mov     ds, bx
        SHOW    " ", eax
        SHOW_WORD " ", si
        SHOW_WORD " ", di
        SHOW_WORD " ", cx
        END
        TEST    "LODSW at offset FFFF"
        mov     ax, 2000h
        mov     ds, ax
        mov     byte [0FFFFh], 11h
        mov     byte [0], 22h
        mov     ax, 3000h
        mov     ds, ax
        mov     byte [0], 33h
        mov     ax, 2000h
        mov     ds, ax
        mov     si, 0FFFFh
        lodsw
        mov     bx, 0
        mov     ds, bx
        SHOW_WORD " ", ax
        SHOW_WORD " ", si
        END
        TEST    "LMSW and SMSW"
        smsw    ax
        mov     bx, ax
        or      bl, CR0_MP | CR0_TS
        lmsw    bx
        smsw    cx
        lmsw    ax
        SHOW_WORD " ", ax
        SHOW_WORD " ", cx
        END
        TEST    "SIDT and SGDT in 16 bits"
        lidt    [short_ivt]
        sidt    [scratch]
        lidt    [ivt_pointer]
        lgdt    [boot_gdt]
        sgdt    [scratch + 8]
        SHOW_WORD " ", [scratch]
        SHOW    " ", [scratch + 2]
        SHOW_WORD " ", [scratch + 8]
        END
        TEST    "TF: three instructions"
        mov     dword [returns], 3
        push    word TF | ALWAYS
        popf
        nop
        inc     ax
        add     ax, 5
        push    word ALWAYS
        popf
        END
        TEST    "TF: REP MOVSB, a trap an iteration"
        mov     ax, 2000h
        mov     es, ax
        mov     cx, 3
        mov     dword [returns], 9
        push    word TF | ALWAYS
        popf
        rep     movsb
        push    word ALWAYS
        popf
        END
        TEST    "TF: MOV SS holds the trap for one instruction"
        mov     ax, ss
        mov     dword [returns], 9
        push    word TF | ALWAYS
        popf
        mov     ss, ax
        nop
        nop
        push    word ALWAYS
        popf
        END
        TEST    "TF: POP SS as well"
        push    ss
        mov     dword [returns], 9
        push    word TF | ALWAYS
        popf
        pop     ss
        nop
        push    word ALWAYS
        popf
        END
        TEST    "TF: INT n clears it for the handler"
        mov     dword [returns], 9
        push    word TF | ALWAYS
        popf
        int     20h
        push    word ALWAYS
        popf
        END
        TEST    "TF: a fault before the trap"
        mov     dword [returns], 1
        push    word TF | ALWAYS
        popf
        nop
        ud2
        END
        TEST    "DR0: a breakpoint, and RF by IRETD"
        mov     eax, .breakpoint
        mov     dr0, eax
        mov     eax, DR7_RESET | 1
        mov     dr7, eax
        nop
.breakpoint:
        nop
        CAUGHT
        mov     eax, DR7_RESET
        mov     dr7, eax
        END

; ==== unreal mode ====

; Protected mode and back, with DS, ES of 4 GiB and bases of their own.  Leaves AX changed.
%macro VISIT_PROTECTED 0
        lgdt    [boot_gdt]
        mov     eax, cr0
        or      al, CR0_PE
        mov     cr0, eax
        jmp     short %%in
%%in:   mov     ax, DATA_32
        mov     ds, ax
        mov     es, ax
        mov     eax, cr0
        and     al, ~CR0_PE & 0FFh
        mov     cr0, eax
        jmp     0:%%out
%%out:
%endmacro

        CHAPTER "unreal mode and A20"

        TEST    "a segment of 4 GiB outlives protected mode"
        VISIT_PROTECTED
        mov     edi, 300000h
        mov     dword [edi], 12345678h
        mov     eax, [edi]
        mov     bx, ds
        SHOW    " ", eax
        SHOW_WORD " ds=", bx
        END
        TEST    "and its base goes when the register is loaded"
        VISIT_PROTECTED
        mov     ax, 2000h
        mov     ds, ax
        mov     dword [10h], 20201010h
        xor     ax, ax
        mov     ds, ax
        mov     eax, [dword 20010h]
        SHOW    " ", eax
        END
        TEST    "REP STOSD of 32-bit addresses"
        VISIT_PROTECTED
        mov     edi, 3FFFF0h
        mov     ecx, 8
        mov     eax, 0A5A5A5A5h
        a32 rep stosd
        SHOW    " ", edi
        SHOW    " ", ecx
        SHOW    " ", [dword 40000Ch]
        END
        TEST    "a 32-bit stack in real mode"
        lgdt    [boot_gdt]
        mov     eax, cr0
        or      al, CR0_PE
        mov     cr0, eax
        mov     ax, DATA_32
        mov     ss, ax
        mov     eax, cr0
        and     al, ~CR0_PE & 0FFh
        mov     cr0, eax
        mov     esp, 30000h
        push    dword 11223344h
        mov     ebx, esp
        mov     ecx, [STACK_0 - 4]
        mov     eax, cr0
        or      al, CR0_PE
        mov     cr0, eax
        mov     ax, DATA_16
        mov     ss, ax
        mov     eax, cr0
        and     al, ~CR0_PE & 0FFh
        mov     cr0, eax
        xor     ax, ax
        mov     ss, ax
        mov     esp, STACK_0
        SHOW    " ", ebx
        END
        TEST    "A20: port 92h, 0 and 1"
        VISIT_PROTECTED
        mov     dword [scratch], 0
        mov     dword [dword 100000h + scratch], 22222222h
        mov     al, KBC_WRITE_OUTPUT_PORT       ; the keyboard controller's half of the gate: from
        out     KBC_COMMAND, al                 ; here to the next reset port 92h decides
        mov     al, KBC_PORT_A20_OFF
        out     KBC_DATA, al
        in      al, PORT_92
        and     al, ~(PORT_92_A20 | PORT_92_RESET) & 0FFh
        out     PORT_92, al
        mov     ebx, [dword 100000h + scratch]
        mov     dword [dword 100000h + scratch], 33333333h
        in      al, PORT_92
        or      al, PORT_92_A20
        out     PORT_92, al
        SHOW    " ", ebx
        SHOW    " ", [scratch]
        SHOW    " ", [dword 100000h + scratch]
        END
        TEST    "A20: code beyond 1 MiB, FFFF:0010"
        VISIT_PROTECTED
        mov     byte [dword 100000h], 0CDh
        mov     byte [dword 100001h], 20h
        mov     word [test_base], 10h
        jmp     0FFFFh:10h
        END
        TEST    "A20 off: FFFF:0010 is 0"
        VISIT_PROTECTED
        in      al, PORT_92
        and     al, ~(PORT_92_A20 | PORT_92_RESET) & 0FFh
        out     PORT_92, al
        mov     ecx, [0]
        mov     dword [0], 21CD21CDh
        mov     word [test_base], 10h
        jmp     0FFFFh:10h
        CAUGHT
        mov     dword [0], 0
        in      al, PORT_92
        or      al, PORT_92_A20
        out     PORT_92, al
        END
        TEST    "CR0.PE set, and the code goes on in 16 bits"
        lgdt    [boot_gdt]
        mov     eax, cr0
        or      al, CR0_PE
        mov     cr0, eax
        mov     bx, cs
        push    word 1234h
        pop     cx
        mov     eax, cr0
        and     al, ~CR0_PE & 0FFh
        mov     cr0, eax
        SHOW_WORD " cs=", bx
        SHOW_WORD " ", cx
        END
        jmp     protected_chapters

        [section .tables]
short_ivt:      dw      4 * 14 - 1
                dd      0
boot_gdt:       dw      BEYOND_GDT - 1
                dd      gdt_image
        __?SECT?__
