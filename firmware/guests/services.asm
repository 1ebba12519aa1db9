; services: calls each of the ROM's services and prints what it answers.
;
; It is the ROM's own test.  A line gives the call, then AX and the flags CF and ZF after it:
;
;       INT 12h         AX 0280 CF 0 ZF 0
;
; At the end it asks for two keys: one it looks for until it is there, one it waits for.

        cpu     386
        bits    16
        org     7C00h
%include "pc.inc"

TICK_VECTOR     equ     1Ch

; Print the given name, then AX and the flags as they are at this place.  Keeps everything.
%macro report 1
        call    print_report
        db      %1, 0
%endmacro

; Set CF and ZF the wrong way round first, so that a service that leaves them is seen to.
%macro with_flags 1
        push    word %1 | 1 << 1
        popf
%endmacro

; Registers and flags as the ROM gave them: nothing may come before this.

start:  pushf
        push    dx
        push    sp                      ; a 286 and later push SP as it was before
        pop     ax
        add     ax, 4                   ; and before the two pushes above
        report  "entry: SP"
        pop     ax
        report  "entry: DX"
        pop     ax
        report  "entry: FLAGS"

        with_flags FLAGS_IF
        mov     ah, 0Fh
        int     10h
        report  "INT 10h AH 0F"
        int     11h
        report  "INT 11h"
        int     12h
        report  "INT 12h"
        mov     ax, 0201h
        int     13h
        report  "INT 13h AH 02"
        with_flags FLAGS_CF
        mov     ah, 88h
        int     15h
        report  "INT 15h AH 88"
        with_flags 0
        mov     ax, 0E820h
        int     15h
        report  "INT 15h AH E8"

; Two ticks: INT 1Ch must have been called as often as INT 1Ah says (ZF = 1).  Interrupts are on
; only in the HLT, so that no tick can fall between the two looks.

        mov     word [4 * TICK_VECTOR], on_tick
        mov     word [4 * TICK_VECTOR + 2], cs
        sti
        hlt
        cli
        mov     byte [called], 0
        with_flags FLAGS_CF
        mov     ah, 0
        int     1Ah
        report  "INT 1Ah AH 00"
        mov     bx, dx
.rest:  sti
        hlt
        cli
        mov     ah, 0
        int     1Ah
        sub     dx, bx
        cmp     dx, 2
        jb      .rest
        cmp     [called], dl
        sti
        report  "two ticks"

        with_flags FLAGS_IF
        mov     ah, 01h
        int     16h
        report  "INT 16h AH 01, no key"
.look:  hlt                             ; the timer ends it: a look at each tick
        mov     ah, 01h
        int     16h
        jz      .look
        report  "INT 16h AH 01, key"
        mov     ah, 00h
        int     16h
        report  "INT 16h AH 00, key"
        mov     ah, 00h
        int     16h
        report  "INT 16h AH 00, waited"
        jmp     serial_drain_and_end

on_tick:
        inc     byte [cs:called]
        iret

; CALL has pushed where the name begins.
print_report:
        pop     word [name]
        pusha
        pushf
        mov     bp, sp                  ; FLAGS at BP, AX highest of PUSHA's eight
        mov     si, [name]
        call    print_string
        mov     [name], si              ; past its end: where to go on
        mov     si, text_ax
        call    print_string
        mov     dx, [bp + 16]
        mov     cx, 4
.digit: rol     dx, 4
        mov     al, dl
        and     al, 0Fh
        cmp     al, 10
        jb      .decimal
        add     al, 'A' - '0' - 10
.decimal:
        add     al, '0'
        call    print_character
        loop    .digit
        mov     si, text_cf
        mov     al, FLAGS_CF
        call    print_flag
        mov     si, text_zf
        mov     al, FLAGS_ZF
        call    print_flag
        mov     si, text_new_line
        call    print_string
        popf
        popa
        jmp     [name]

; Print the string at SI, then whether bit AL of the caller's FLAGS is 1.
print_flag:
        mov     ah, al
        call    print_string
        test    [bp], ah
        setnz   al
        add     al, '0'
        jmp     print_character

print_character:
        push    ax
        push    bx
        mov     ah, 0Eh
        xor     bx, bx
        int     10h
        pop     bx
        pop     ax
        ret

%include "print.inc"
%include "serial.inc"

text_ax:        db      ": AX ", 0
text_cf:        db      " CF ", 0
text_zf:        db      " ZF ", 0
text_new_line:  db      CR, LF, 0

name:           dw      0
called:         db      0
