; ==== INT 10h: a screen, which is a terminal on COM1 ====
;
; Text is sent as it is.  The cursor is kept as a screen's is; only where a character is to come
; elsewhere than right of the last one, the terminal is told by an escape sequence (ECMA-48).  So
; a guest that only prints sends nothing but what it prints.
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
; 80 columns and 25 rows, and to know ASCII and whatever else the guest sends.

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
        call    com1_put
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
