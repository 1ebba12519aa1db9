; The frame that every test stands in: titles, printing, and what happens at an event.
;
;       CHAPTER "name"                  begins a new number
;       TEST    "title"                 all registers 0, EFLAGS 2, ESP = STACK_0, tables as new
;               ...                     at most one event ends it
;       CAUGHT                          both ways lead here: after the event, or through
;               SHOW    " eax=", eax    what else is to be logged
;       END
;
; All of it works in 16-bit real mode and in 32-bit protected mode, by what BITS says.

%define BOTH(name) name %+ __?BITS?__

%assign chapter 0
%assign number 0

%macro CHAPTER 1
%assign chapter chapter + 1
%assign number 0
        PRINT   `\n`, %1, `\n`
%endmacro

; Print strings, which are kept out of the way.  Keeps every register and flag.
%macro PRINT 1+
        [section BOTH(.strings)]
%%text: db      %1, 0
        __?SECT?__
        call    BOTH(print_here)
        dd      %%text
%endmacro

; Print a text and a number of 32 bits.  Keeps every register and flag.
%macro SHOW 2
        push    dword %2
        SHOWN   8, %1
%endmacro

; The same of 16 and of 8 bits.  The number must not be in terms of ESP.
%macro SHOW_WORD 2
        push    eax
        mov     ax, %2
        xchg    eax, [esp]
        SHOWN   4, %1
%endmacro

%macro SHOW_BYTE 2
        push    eax
        mov     al, %2
        xchg    eax, [esp]
        SHOWN   2, %1
%endmacro

; Print a text and the number that has been pushed, which goes.
%macro SHOWN 2
        [section BOTH(.strings)]
%%text: db      %2, 0
        __?SECT?__
        call    BOTH(show%1_)
        dd      %%text
%endmacro

%macro TEST 1+
        %push   test
        %assign number number + 1
        %assign %$tens number / 10
        %assign %$ones number % 10
        %assign %$chapter_tens chapter / 10
        %assign %$chapter_ones chapter % 10
        [section BOTH(.strings)]
%$title: db     '0' + %$chapter_tens, '0' + %$chapter_ones, '.'
        db      '0' + %$tens, '0' + %$ones, ' ', %1, ':', 0
        __?SECT?__
        call    BOTH(begin)
        dd      %$title, %$caught
%$first:
%endmacro

%macro CAUGHT 0
        call    BOTH(went_through)
%$caught:
%define %$is_caught
%endmacro

%macro END 0
        %ifndef %$is_caught
        CAUGHT
        %endif
        call    BOTH(end_of_line)
        %pop
%endmacro

; ==== printing, the same text for both widths ====

; Print the string whose address follows the call, and the number that was pushed before it, which is
; taken off the stack.
%macro SHOWER 2
show%1_%2:
        push    eax
        push    esi
        pushfd
        RETURN_ADDRESS esi, 12
        push    esi
        mov     esi, [esi]
        call    print_string%2
        pop     esi
        add     esi, 4
        NEW_RETURN_ADDRESS esi, si, 12
        mov     eax, [esp + 12 + %2 / 8]
        call    print_hex%1_%2
        popfd
        pop     esi
        pop     eax
        ret     4
%endmacro

%macro PRINTERS 1
        bits    %1
; Print the string at ESI.
print_string%1:
        pushfd
        push    eax
        push    esi
        cld
.next:  lodsb
        test    al, al
        jz      .end
        out     DEBUG_PRESENT, al       ; the port is what it reads: E9h
        jmp     .next
.end:   pop     esi
        pop     eax
        popfd
        ret

; Print EAX, AX or AL in hexadecimal.
print_hex8_%1:
        pushfd
        push    ecx
        mov     cl, 28
        jmp     print_digits%1
print_hex4_%1:
        pushfd
        push    ecx
        mov     cl, 12
        jmp     print_digits%1
print_hex2_%1:
        pushfd
        push    ecx
        mov     cl, 4
print_digits%1:
        push    edx
.digit: mov     edx, eax
        shr     edx, cl
        and     edx, 0Fh
        push    eax
        mov     al, [hex_digits + edx]
        out     DEBUG_PRESENT, al
        pop     eax
        sub     cl, 4
        jns     .digit
        pop     edx
        pop     ecx
        popfd
        ret

; Print the string whose address follows the call.
print_here%1:
        push    esi
        pushfd
        RETURN_ADDRESS esi, 8
        push    esi
        mov     esi, [esi]
        call    print_string%1
        pop     esi
        add     esi, 4
        NEW_RETURN_ADDRESS esi, si, 8
        popfd
        pop     esi
        ret

        SHOWER  8, %1
        SHOWER  4, %1
        SHOWER  2, %1

; A test has run to its end.
went_through%1:
        PRINT   " -"
        ret

end_of_line%1:
        PRINT   `\n`
        ret
%endmacro

%macro RETURN_ADDRESS 2                 ; register, where in the stack
%if __?BITS?__ == 16
        movzx   %1, word [esp + %2]
%else
        mov     %1, [esp + %2]
%endif
%endmacro

%macro NEW_RETURN_ADDRESS 3             ; register, its lower half, where in the stack
%if __?BITS?__ == 16
        mov     [esp + %3], %2
%else
        mov     [esp + %3], %1
%endif
%endmacro

        [section .tables]
hex_digits: db  "0123456789ABCDEF"
        __?SECT?__

        PRINTERS 16
        PRINTERS 32

; ==== real mode ====

        bits    16

; Begin a test: the arguments follow the call.
begin16:
        cli
        cld
        mov     bp, sp
        mov     bx, [bp]
        xor     eax, eax
        mov     ds, ax
        mov     es, ax
        mov     fs, ax
        mov     gs, ax
        mov     ss, ax
        mov     esp, STACK_0
        call    vectors_anew
        mov     esi, [bx]
        call    print_string16
        mov     eax, [bx + 4]
        mov     [test_resume], eax
        add     bx, 8
        movzx   ebx, bx
        mov     [test_base], ebx
        mov     dword [returns], 0
        mov     dword [skip], 0
        push    bx
        xor     eax, eax
        xor     ebx, ebx
        xor     ecx, ecx
        xor     edx, edx
        xor     esi, esi
        xor     edi, edi
        xor     ebp, ebp
        push    dword ALWAYS
        popfd
        ret

; Every vector leads to its stub.
vectors_anew:
        mov     di, 0
        mov     eax, stubs_16
.next:  stosd
        add     ax, STUB_BYTES_16
        cmp     di, 400h
        jne     .next
        ret

STUB_BYTES_16   equ     5
stubs_16:
%assign vector 0
%rep 256
        db      6Ah, vector               ; PUSH imm8
        jmp     near event_16
%assign vector vector + 1
%endrep

; An event in real mode: stack: vector, IP, CS, FLAGS.
event_16:
        pushad
        push    ds
        push    es
        xor     ax, ax
        mov     ds, ax
        mov     es, ax
        cld
        mov     bp, sp
        lea     si, [bp + 4]
        mov     di, saved_registers
        mov     cx, 8
        ss rep  movsd
        add     bp, 4 + 32
        add     dword [saved_esp], 8    ; as it was before the frame
        PRINT   " #"
        mov     al, [bp]
        call    print_hex2_16
        SHOW_WORD " at ", [bp + 4]
        PRINT   ":+"
        mov     ax, [bp + 2]
        sub     ax, [test_base]
        call    print_hex4_16
        SHOW_WORD " fl=", [bp + 6]
        SHOW_WORD " sp=", [saved_esp]
        cmp     byte [bp], 1
        jne     .no_debug
        mov     eax, dr6
        SHOW    " dr6=", eax
        mov     eax, DR6_RESET
        mov     dr6, eax
.no_debug:
        cmp     dword [returns], 0
        je      resume_16
        dec     dword [returns]
        mov     ax, [skip]
        add     [bp + 2], ax
        pop     es
        pop     ds
        popad
        add     sp, 2
        iret
resume_16:
        xor     eax, eax
        mov     ds, ax
        mov     es, ax
        mov     ss, ax
        mov     esp, STACK_0
        push    dword ALWAYS
        popfd
        jmp     word [test_resume]

; ==== protected mode ====

        bits    32

begin32:
        cli
        cld
        mov     ebx, [esp]
        mov     ax, DATA_32
        mov     ds, ax
        mov     es, ax
        mov     ss, ax
        mov     esp, STACK_0
        call    tables_anew
        mov     esi, [ebx]
        call    print_string32
        mov     eax, [ebx + 4]
        mov     [test_resume], eax
        add     ebx, 8
        mov     [test_base], ebx
        push    ebx
        xor     eax, eax
        mov     [returns], eax
        mov     [skip], eax
        mov     [sum], eax
        xor     ebx, ebx
        xor     ecx, ecx
        xor     edx, edx
        xor     esi, esi
        xor     edi, edi
        xor     ebp, ebp
        push    dword ALWAYS
        popfd
        ret

; Tables and control registers as every test finds them.  Keeps EBX; ESP stays.
tables_anew:
        mov     eax, CR0_PE | CR0_ET | CR0_NE
        mov     cr0, eax
        xor     eax, eax
        mov     cr4, eax
        mov     cr2, eax
        mov     eax, DR7_RESET
        mov     dr7, eax
        mov     eax, DR6_RESET
        mov     dr6, eax
        mov     esi, gdt_image
        mov     edi, GDT
        mov     ecx, (ldt_image - gdt_image) / 4
        rep     movsd
        mov     esi, ldt_image
        mov     edi, LDT
        mov     ecx, (tables_end - ldt_image) / 4
        rep     movsd
        mov     edi, IDT
        mov     eax, (CODE_32 << 16) + stubs_32
        mov     ecx, VECTORS
.gate:  stosd
        mov     dword [edi], INTERRUPT_32 << 8
        add     edi, 4
        add     eax, STUB_BYTES_32
        loop    .gate
        mov     byte [IDT + 8 * BACK_TO_0 + 5], INTERRUPT_32 | DPL_3
        mov     edi, IDT + 8 * OUTSIDE
        mov     eax, (CODE_32 << 16) + landed_inside
        stosd
        mov     dword [edi], (INTERRUPT_32 | DPL_3) << 8
        mov     edi, TSS
        mov     ecx, TSS_BYTES / 4
        xor     eax, eax
        rep     stosd
        mov     dword [TSS + TSS_ESP0], STACK_0
        mov     dword [TSS + TSS_SS0], DATA_32
        mov     dword [TSS + TSS_ESP1], STACK_1
        mov     dword [TSS + TSS_SS1], DATA_LEVEL_1 | 1
        mov     dword [TSS + TSS_IO_MAP - 2], TSS_BYTES << 16
        lgdt    [gdt_pointer]
        lidt    [idt_pointer]
        mov     ax, TSS_SELECTOR
        ltr     ax
        xor     eax, eax
        lldt    ax
        mov     ax, DATA_32
        mov     ds, ax
        mov     es, ax
        mov     ss, ax
        mov     fs, ax
        mov     gs, ax
        ret

VECTORS         equ     40h
BACK_TO_0       equ     30h             ; INT 30h ends what runs at an outer level
OUTSIDE         equ     31h             ; and INT 31h says where a gate has led

        [section .tables]
gdt_pointer:    dw      BEYOND_GDT - 1
                dd      GDT
idt_pointer:    dw      8 * VECTORS - 1
                dd      IDT
ivt_pointer:    dw      3FFh
                dd      0
        __?SECT?__

; Stubs push a 0 where the processor pushes no error code (SDM 3A, table 6-1), and the vector.
STUB_BYTES_32   equ     9
stubs_32:
%assign vector 0
%rep VECTORS
%if vector == 8 || (vector >= 10 && vector <= 14) || vector == 17
        nop
        nop
%else
        push    byte 0
%endif
        push    byte vector
        jmp     near event_32
%assign vector vector + 1
%endrep

; An event: stack: vector, error code, EIP, CS, EFLAGS; ESP, SS; ES, DS, FS, GS.
FRAME           equ     8 + 32          ; from ESP after the pushes below to the vector
event_32:
        pushad
        mov     eax, ss                 ; a stack of 16 bits is one below 64 KiB
        lar     eax, eax
        jnz     .small                  ; and so is one without a descriptor
        test    eax, 1 << 22
        jnz     .large
.small: movzx   esp, sp
.large:
        push    ds
        push    es
        mov     ax, DATA_32
        mov     ds, ax
        mov     es, ax
        cld
        mov     ebp, esp
        lea     esi, [ebp + 8]
        mov     edi, saved_registers
        mov     ecx, 8
        rep     movsd
        add     ebp, FRAME
        add     dword [saved_esp], 20   ; as it was before the frame
        call    print_event
        cmp     dword [returns], 0
        je      resume_32
        dec     dword [returns]
        mov     eax, [skip]
        add     [ebp + 8], eax
        pop     es
        pop     ds
        popad
        add     esp, 8
        iretd

; Go on behind CAUGHT, whatever the event has left.
resume_32:
        jmp     CODE_32:.code
.code:  mov     ax, DATA_32
        mov     ds, ax
        mov     es, ax
        mov     ss, ax
        mov     esp, STACK_0
        push    dword ALWAYS
        popfd
        jmp     dword [test_resume]

; Print the event whose frame is at EBP.
print_event:
        PRINT   " #"
        mov     al, [ebp]
        call    print_hex2_32
        cmp     dword [ebp + 4], 0
        je      .no_code
        SHOW    " e=", [ebp + 4]
.no_code:
        SHOW_WORD " at ", [ebp + 12]
        PRINT   ":"
        cmp     dword [test_base], NO_EIP
        je      .hidden
        mov     eax, [ebp + 8]
        sub     eax, [test_base]
        jb      .elsewhere
        cmp     eax, 1000h
        jae     .elsewhere
        PRINT   "+"
        call    print_hex4_32
        jmp     .flags
.hidden:
        PRINT   "?"
        jmp     .flags
.elsewhere:
        mov     eax, [ebp + 8]
        call    print_hex8_32
.flags: mov     eax, [ebp + 16]
        mov     [saved_eflags], eax
        cmp     byte [ebp], 1
        je      .with_rf
        and     eax, ~RF                ; RF has a test of its own
.with_rf:
        SHOW    " fl=", eax
        test    dword [ebp + 16], VM
        jnz     .outer
        test    byte [ebp + 12], 3
        jz      .same
.outer: SHOW_WORD " sp=", [ebp + 24]
        SHOW    ":", [ebp + 20]
        jmp     .stack
.same:  SHOW    " sp=", [saved_esp]
.stack: test    dword [ebp + 16], VM
        jz      .not_v86
        SHOW_WORD " es=", [ebp + 28]
        SHOW_WORD " ds=", [ebp + 32]
        SHOW_WORD " fs=", [ebp + 36]
        SHOW_WORD " gs=", [ebp + 40]
.not_v86:
        cmp     byte [ebp], 14
        jne     .not_page
        mov     eax, cr2
        SHOW    " cr2=", eax
.not_page:
        cmp     byte [ebp], 1
        jne     .not_debug
        mov     eax, dr6
        SHOW    " dr6=", eax
        mov     eax, DR6_RESET
        mov     dr6, eax
.not_debug:
        ret
