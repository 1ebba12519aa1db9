; ==== INT 10h: a screen, which is a terminal on COM1 ====
;
; ASCII is sent as it is.  The other characters are those of a PC's screen, code page 437, and are
; sent in UTF-8: frames and blocks, accents, and what control characters look like where they
; control nothing.  The cursor is kept as a screen's is; only where a character is to come
; elsewhere than right of the last one, the terminal is told by an escape sequence (ECMA-48).  So
; a guest that only prints ASCII sends nothing but what it prints.
;
;       00h     set a mode: clears the screen; the mode is remembered and is always 80x25 text
;       01h     remember the cursor's type
;       02h     cursor to row DH, column DL
;       03h     DH, DL = the cursor, CX = its type
;       06h 07h scroll up, down by AL lines; 0: clear
;       08h     read a character: nobody knows; AL = a space, AH = 07h
;       09h 0Ah write AL CX times; the cursor stays
;       0Eh     write AL, as a teletype does: BEL, BS, LF and CR do what they say
;       0Fh     AL = mode, AH = columns, BH = page
;       13h     write CX characters from ES:BP as a teletype; from DH, DL; AL bit 0: the cursor
;               goes with them, bit 1: each is followed by an attribute
;       others  nothing
;
; Not done: colours, pages, windows to scroll, cursor types, graphics.  The terminal is taken to have
; 80 columns and 25 rows, and to know UTF-8.

COLUMNS         equ     80
ROWS            equ     25
NOWHERE         equ     0FFFFh          ; in BDA_TERMINAL: its cursor may be anywhere

int_screen:
        SERVICE
        cmp     ah, 0Eh
        je      .teletype
        cmp     ah, 00h
        je      .mode
        cmp     ah, 01h
        je      .type
        cmp     ah, 02h
        je      .set_cursor
        cmp     ah, 03h
        je      .get_cursor
        cmp     ah, 06h
        je      .scroll
        cmp     ah, 07h
        je      .scroll
        cmp     ah, 08h
        je      .read
        cmp     ah, 09h
        je      .write
        cmp     ah, 0Ah
        je      .write
        cmp     ah, 0Fh
        je      .get_mode
        cmp     ah, 13h
        je      .string
        jmp     return

.teletype:
        call    teletype
        jmp     return

.mode:  and     al, 7Fh                 ; bit 7: "do not clear the screen"
        mov     [BDA_MODE], al
        mov     word [BDA_CURSOR], 0
        test    byte [CALLER_AL], 80h
        jnz     return
.clear: mov     si, text_clear
        call    screen_text
        jmp     return

.type:  mov     [BDA_CURSOR_TYPE], cx
        jmp     return

.set_cursor:
        mov     [BDA_CURSOR], dx
        jmp     return

.get_cursor:
        mov     ax, [BDA_CURSOR]
        mov     [CALLER_DX], ax
        mov     ax, [BDA_CURSOR_TYPE]
        mov     [CALLER_CX], ax
        jmp     return

.scroll:
        test    al, al
        jz      .clear
        mov     si, text_escape
        call    screen_text
        call    screen_number
        mov     al, 'S'                 ; "scroll up"
        sub     ah, 06h
        add     al, ah                  ; or T, "scroll down"
        call    com1_put
        jmp     return

.read:  mov     word [CALLER_AX], 07h << 8 | ' '
        jmp     return

.write: jcxz    .written
        mov     dx, [BDA_CURSOR]
.more:  call    screen_put
        loop    .more
        mov     [BDA_CURSOR], dx
.written:
        jmp     return

.get_mode:
        mov     al, [BDA_MODE]
        mov     ah, COLUMNS
        mov     [CALLER_AX], ax
        mov     byte [CALLER_BH], 0
        jmp     return

.string:
        push    word [BDA_CURSOR]
        mov     [BDA_CURSOR], dx
        mov     es, [CALLER_ES]
        mov     si, [CALLER_BP]
        mov     bl, al
        jcxz    .said
.character:
        es lodsb
        call    teletype
        test    bl, 1 << 1
        jz      .bare
        inc     si                      ; its attribute
.bare:  loop    .character
.said:  pop     ax
        test    bl, 1 << 0
        jnz     return
        mov     [BDA_CURSOR], ax
        jmp     return

; Write AL at the cursor as a teletype does.  Changes AX.  DS must be 0.
teletype:
        cmp     al, BEL
        je      .as_it_is
        cmp     al, BS
        je      .back
        cmp     al, LF
        je      .down
        cmp     al, CR
        jne     screen_put

; What moves the cursor within reach of the terminal's moves both.

        mov     byte [BDA_CURSOR], 0
        mov     ah, [BDA_CURSOR + 1]
        cmp     [BDA_TERMINAL + 1], ah
        jne     .end                    ; elsewhere: the next character will tell
        mov     byte [BDA_TERMINAL], 0
.as_it_is:
        jmp     com1_put
.back:  cmp     byte [BDA_CURSOR], 0
        je      .end
        call    screen_at_cursor
        dec     byte [BDA_CURSOR]
        dec     byte [BDA_TERMINAL]
        jmp     com1_put
.down:  call    screen_at_cursor
        call    com1_put
        call    screen_down
        jmp     screen_follow
.end:   ret

; Write AL at the cursor, which goes to the right, and from the last column to the next line, as
; a terminal's does.  Changes AH.
screen_put:
        call    screen_at_cursor
        call    screen_send
        inc     byte [BDA_CURSOR]
        cmp     byte [BDA_CURSOR], COLUMNS
        jb      screen_follow
        mov     byte [BDA_CURSOR], 0
        call    screen_down

; The terminal's cursor is where ours is.  Changes nothing.
screen_follow:
        push    word [BDA_CURSOR]
        pop     word [BDA_TERMINAL]
        ret

; The cursor one row down; in the last one the screen scrolls instead.
screen_down:
        cmp     byte [BDA_CURSOR + 1], ROWS - 1
        jae     .end
        inc     byte [BDA_CURSOR + 1]
.end:   ret

; Have the terminal's cursor where ours is.  Changes nothing.
screen_at_cursor:
        push    ax
        push    si
        mov     ax, [BDA_CURSOR]
        cmp     ax, [BDA_TERMINAL]
        je      .there
        mov     si, text_escape
        call    screen_text
        mov     al, ah
        inc     al                      ; they count from 1
        call    screen_number
        mov     al, ';'
        call    com1_put
        mov     al, [BDA_CURSOR]
        inc     al
        call    screen_number
        mov     al, 'H'
        call    com1_put
        call    screen_follow
.there: pop     si
        pop     ax
        ret

; Send the character AL of code page 437 in UTF-8 (RFC 3629, section 3).  Changes nothing.
screen_send:
        cmp     al, ' '
        jb      .other
        cmp     al, 7Fh
        jb      com1_put                ; ASCII
.other: push    ax
        push    bx
        mov     bx, code_page_437
        movzx   ax, al
        cmp     al, ' '
        jb      .listed                 ; the table has 00h to 1Fh,
        sub     ax, 7Fh - ' '           ; and then 7Fh to FFh
.listed:
        add     bx, ax
        add     bx, ax
        mov     bx, [cs:bx]
        cmp     bh, 0800h >> 8
        jae     .three
        cmp     bx, 80h
        jb      .last                   ; 00h looks like a space
        mov     ax, bx
        shr     ax, 6
        or      al, 0C0h                ; 110: the first byte of two, bits 10 to 6
        jmp     .before_last
.three: mov     al, bh
        shr     al, 4
        or      al, 0E0h                ; 1110: the first byte of three, bits 15 to 12
        call    com1_put
        mov     ax, bx
        shr     ax, 6
        and     al, 3Fh
        or      al, 80h                 ; 10: one more, of 6 bits
.before_last:
        call    com1_put
        and     bl, 3Fh
        or      bl, 80h
.last:  mov     al, bl
        call    com1_put
        pop     bx
        pop     ax
        ret

; Send the string at CS:SI.  Changes SI.
screen_text:
        push    ax
.next:  cs lodsb
        test    al, al
        jz      .end
        call    com1_put
        jmp     .next
.end:   pop     ax
        ret

; Send AL in decimal.  Changes AL.
screen_number:
        push    ax
        mov     ah, 0
        push    bx
        mov     bl, 10
        div     bl                      ; AL = AX / 10, AH = the last digit
        pop     bx
        test    al, al
        jz      .last
        push    ax
        call    screen_number
        pop     ax
.last:  mov     al, ah
        add     al, '0'
        call    com1_put
        pop     ax
        ret

text_escape:    db      ESC, "[", 0
text_clear:     db      ESC, "[2J", 0

; In Unicode, what the characters 00h to 1Fh and 7Fh to FFh of code page 437 look like.
code_page_437:
        dw      0020h, 263Ah, 263Bh, 2665h, 2666h, 2663h, 2660h, 2022h        ; 00h
        dw      25D8h, 25CBh, 25D9h, 2642h, 2640h, 266Ah, 266Bh, 263Ch        ; 08h
        dw      25BAh, 25C4h, 2195h, 203Ch, 00B6h, 00A7h, 25ACh, 21A8h        ; 10h
        dw      2191h, 2193h, 2192h, 2190h, 221Fh, 2194h, 25B2h, 25BCh        ; 18h
        dw      2302h                                                         ; 7Fh
        dw      00C7h, 00FCh, 00E9h, 00E2h, 00E4h, 00E0h, 00E5h, 00E7h        ; 80h
        dw      00EAh, 00EBh, 00E8h, 00EFh, 00EEh, 00ECh, 00C4h, 00C5h        ; 88h
        dw      00C9h, 00E6h, 00C6h, 00F4h, 00F6h, 00F2h, 00FBh, 00F9h        ; 90h
        dw      00FFh, 00D6h, 00DCh, 00A2h, 00A3h, 00A5h, 20A7h, 0192h        ; 98h
        dw      00E1h, 00EDh, 00F3h, 00FAh, 00F1h, 00D1h, 00AAh, 00BAh        ; A0h
        dw      00BFh, 2310h, 00ACh, 00BDh, 00BCh, 00A1h, 00ABh, 00BBh        ; A8h
        dw      2591h, 2592h, 2593h, 2502h, 2524h, 2561h, 2562h, 2556h        ; B0h
        dw      2555h, 2563h, 2551h, 2557h, 255Dh, 255Ch, 255Bh, 2510h        ; B8h
        dw      2514h, 2534h, 252Ch, 251Ch, 2500h, 253Ch, 255Eh, 255Fh        ; C0h
        dw      255Ah, 2554h, 2569h, 2566h, 2560h, 2550h, 256Ch, 2567h        ; C8h
        dw      2568h, 2564h, 2565h, 2559h, 2558h, 2552h, 2553h, 256Bh        ; D0h
        dw      256Ah, 2518h, 250Ch, 2588h, 2584h, 258Ch, 2590h, 2580h        ; D8h
        dw      03B1h, 00DFh, 0393h, 03C0h, 03A3h, 03C3h, 00B5h, 03C4h        ; E0h
        dw      03A6h, 0398h, 03A9h, 03B4h, 221Eh, 03C6h, 03B5h, 2229h        ; E8h
        dw      2261h, 00B1h, 2265h, 2264h, 2320h, 2321h, 00F7h, 2248h        ; F0h
        dw      00B0h, 2219h, 00B7h, 221Ah, 207Fh, 00B2h, 25A0h, 00A0h        ; F8h
