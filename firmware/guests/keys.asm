; keys: a boot sector that prints on COM1 what is typed on the keyboard; Esc ends it.
;
; The keyboard interrupts with each scan code.  One of set 1 is a key that goes down, or with bit 7
; set one that comes up.  This is all that a US layout without its rarer keys needs.

        cpu     386
        bits    16
        org     7C00h
%include "pc.inc"

KEYBOARD_VECTOR equ     09h             ; where the ROM put IRQ 1

UP              equ     80h             ; a scan code's bit 7
CODE_ESC        equ     01h
CODE_LEFT_SHIFT equ     2Ah
CODE_RIGHT_SHIFT equ    36h

        jmp     0:start                 ; some BIOSes come here as 07C0:0000

start:  cli
        xor     ax, ax
        mov     ds, ax
        mov     ss, ax
        mov     sp, 7C00h
        cld
        mov     word [4 * KEYBOARD_VECTOR], on_key
        mov     word [4 * KEYBOARD_VECTOR + 2], cs
        mov     al, ~(1 << KBC_IRQ) & 0FFh      ; IRQ 1 and no other
        out     MASTER_DATA, al
        mov     si, text_ready
        call    print_string            ; what is typed from here on is ours

; The handler leaves a character in `typed`, and 0 there says that it has been taken.

main:   cli
        mov     al, [typed]
        test    al, al
        jnz     .take
        sti                             ; STI lets one more instruction pass before it takes
        hlt                             ; effect, so no key can fall between the two
        jmp     main
.take:  mov     byte [typed], 0
        sti
        cmp     al, ESC
        je      serial_drain_and_end
        cmp     al, LF
        jne     .print
        mov     al, CR
        call    serial_put
        mov     al, LF
.print: call    serial_put
        jmp     main

on_key: push    ax
        push    bx
        push    ds
        xor     ax, ax
        mov     ds, ax
        in      al, KBC_DATA
        mov     bl, al
        and     bl, ~UP & 0FFh
        cmp     bl, CODE_LEFT_SHIFT
        je      .shift
        cmp     bl, CODE_RIGHT_SHIFT
        je      .shift
        cmp     al, plain.end - plain   ; a key that comes up, or a code that is not in the table
        jae     .end
        xor     bh, bh
        mov     al, [plain + bx]
        cmp     byte [shift], 0
        je      .typed
        mov     al, [shifted + bx]
.typed: mov     [typed], al
        jmp     .end
.shift: not     al
        and     al, UP
        mov     [shift], al
.end:   mov     al, OCW2_EOI
        out     MASTER, al
        pop     ds
        pop     bx
        pop     ax
        iret

print_character equ     serial_put

%include "print.inc"
%include "serial.inc"

; What each key prints, by its code in set 1; 0: nothing.

plain:          db      0, ESC, "1234567890-=", BS, 9, "qwertyuiop[]", LF, 0
                db      "asdfghjkl;'`", 0, "\zxcvbnm,./", 0, "*", 0, " "
.end:
shifted:        db      0, ESC, "!@#$%^&*()_+", BS, 9, "QWERTYUIOP{}", LF, 0
                db      'ASDFGHJKL:"~', 0, "|ZXCVBNM<>?", 0, "*", 0, " "

text_ready:     db      "Type; Esc ends.", CR, LF, 0

typed:          db      0               ; a character that nobody has taken yet
shift:          db      0               ; not 0: a Shift key is down

        times   510 - ($ - $$) db 0
        dw      0AA55h
