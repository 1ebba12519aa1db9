; echo: a boot sector that answers each line typed on COM1 with its length and its text reversed.
;
;       > hello
;       5: olleh
;       >
;
; Backspace erases; Ctrl-D ends.  Characters arrive by interrupt (IRQ 4) into a ring of 256
; bytes; the main loop takes them out, and halts when there are none.

        cpu     386
        bits    16
        org     7C00h
%include "pc.inc"
%define print_character serial_put

SERIAL_VECTOR   equ     08h + COM1_IRQ  ; where the ROM put IRQ 4
LINE_SIZE       equ     72              ; a line longer than that rings the bell
LINE            equ     0500h           ; the line, as typed so far
RING            equ     0600h           ; on a 256-byte boundary: an index in BL wraps by itself

        jmp     0:start                 ; some BIOSes come here as 07C0:0000

start:  cli
        xor     ax, ax
        mov     ds, ax
        mov     ss, ax
        mov     sp, 7C00h
        cld
        mov     word [4 * SERIAL_VECTOR], on_serial
        mov     word [4 * SERIAL_VECTOR + 2], cs
        mov     dx, COM1 + FCR          ; no reset of the FIFO: what was typed while we
        mov     al, FCR_ENABLE | FCR_TRIGGER_8          ; started is kept
        out     dx, al
        mov     dx, COM1 + MCR
        mov     al, MCR_DTR | MCR_RTS | MCR_OUT2
        out     dx, al
        mov     al, ~(1 << COM1_IRQ) & 0FFh             ; IRQ 4 and no other
        out     MASTER_DATA, al

prompt: mov     si, text_prompt
        call    print_string
        xor     di, di                  ; DI = length of the line
next:   call    get_character
        xchg    ah, [previous]          ; AH = the character before
        mov     [previous], al
        cmp     al, CTRL_D
        je      goodbye
        cmp     al, CR
        je      answer
        cmp     al, LF
        je      .line_feed
        cmp     al, BS
        je      .erase
        cmp     al, DEL
        je      .erase
        cmp     al, ' '
        jb      next                    ; other control characters mean nothing here
        cmp     di, LINE_SIZE
        je      .refuse
        mov     [LINE + di], al
        inc     di
        call    print_character
        jmp     next
.line_feed:
        cmp     ah, CR                  ; CR LF is one end of line, not two
        je      next
        jmp     answer
.erase: test    di, di
        jz      .refuse
        dec     di
        mov     si, text_erase
        call    print_string
        jmp     next
.refuse:
        mov     al, BEL
        call    print_character
        jmp     next

answer: mov     si, text_new_line
        call    print_string
        movzx   eax, di
        call    print_decimal
        mov     si, text_colon
        call    print_string
.reversed:
        dec     di
        js      .end
        mov     al, [LINE + di]
        call    print_character
        jmp     .reversed
.end:   mov     si, text_new_line
        call    print_string
        jmp     prompt

goodbye:
        mov     si, text_bye
        call    print_string
        jmp     serial_drain_and_end

; Wait for a character and take it from the ring into AL.  Changes BX, DX.
get_character:
        cli
        mov     bx, RING
        mov     bl, [tail]
        cmp     bl, [head]
        jne     .take
        mov     dx, COM1 + IER          ; the first time, and after the ring was full
        mov     al, IER_ERBFI
        out     dx, al
        sti                             ; takes effect one instruction later, so that no
        hlt                             ; character can fall between the two
        jmp     get_character
.take:  mov     al, [bx]
        inc     byte [tail]
        sti
        ret

; IRQ 4: move what has arrived into the ring.
;
; The 8259 sees edges: the UART must have nothing left to say when this ends, or its line stays
; high and there is no next edge.  So either the FIFO is emptied, or its interrupt turned off.
on_serial:
        push    ax
        push    bx
        push    dx
.next:  mov     dx, COM1 + LSR
        in      al, dx
        test    al, LSR_DR
        jz      .end
        mov     bx, RING
        mov     bl, [head]
        mov     al, bl
        inc     al
        cmp     al, [tail]
        je      .full
        mov     dx, COM1 + RBR
        in      al, dx
        mov     [bx], al
        inc     byte [head]
        jmp     .next
.full:  mov     dx, COM1 + IER          ; the rest waits in the FIFO until the ring is empty
        xor     al, al
        out     dx, al
.end:   mov     al, OCW2_EOI
        out     MASTER, al
        pop     dx
        pop     bx
        pop     ax
        iret

%include "serial.inc"
%include "print.inc"

text_prompt:    db      "> ", 0
text_erase:     db      BS, ' ', BS, 0
text_colon:     db      ": ", 0
text_bye:       db      "bye"
text_new_line:  db      CR, LF, 0

head:           db      0               ; where on_serial puts the next character
tail:           db      0               ; where get_character takes the next one
previous:       db      0

        times   510 - ($ - $$) db 0
        dw      0AA55h
