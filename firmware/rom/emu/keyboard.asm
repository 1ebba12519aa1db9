; ==== IRQ 1; INT 16h: keys, from the keyboard and from COM1 ====
;
; A key is a word: its scan code of set 1 and its character, which is 0 where it has none.  IRQ 1
; puts keys in a ring in the BIOS data area; INT 16h takes them out, having put there what COM1
; has received, as if it had been typed on the keyboard.
;
;       00h 10h         wait for a key; AX = the key
;       01h 11h         ZF = 0 and AX = the next key, which stays; or ZF = 1
;       02h 12h         AL = the SHIFT_... bits; 12h: AH = 0
;       05h             put key CX in the ring; AL = 0, or 1 if it is full
;       others          nothing
;
; Not done: the lights, the typematic rate, characters composed on the keypad with Alt, Pause, the
; difference between left and right Ctrl and Alt, escape sequences of a terminal's.

SHIFT_RIGHT     equ     1 << 0
SHIFT_LEFT      equ     1 << 1
SHIFT_CTRL      equ     1 << 2
SHIFT_ALT       equ     1 << 3
LOCK_SCROLL     equ     1 << 4
LOCK_NUM        equ     1 << 5
LOCK_CAPS       equ     1 << 6
LOCK_INSERT     equ     1 << 7

PREFIX_E1       equ     1 << 0          ; in BDA_PREFIX
PREFIX_E0       equ     1 << 1

KEY_UP          equ     80h             ; in a scan code

SCAN_TAB        equ     0Fh
SCAN_CTRL       equ     1Dh
SCAN_ENTER      equ     1Ch
SCAN_LEFT_SHIFT equ     2Ah
SCAN_SLASH      equ     35h
SCAN_RIGHT_SHIFT equ    36h
SCAN_STAR       equ     37h             ; with E0h: Print Screen
SCAN_ALT        equ     38h
SCAN_SPACE      equ     39h
SCAN_CAPS       equ     3Ah
SCAN_F1         equ     3Bh
SCAN_F10        equ     44h
SCAN_NUM        equ     45h
SCAN_SCROLL     equ     46h             ; with E0h: Break
SCAN_HOME       equ     47h             ; the first of the keypad
SCAN_MINUS      equ     4Ah
SCAN_PLUS       equ     4Eh
SCAN_INSERT     equ     52h
SCAN_DELETE     equ     53h             ; the last
SCAN_102ND      equ     56h
SCAN_F11        equ     57h
SCAN_F12        equ     58h

; The keyboard is on, its codes translated to set 1, IRQ 1 enabled, the mouse off.  A key takes a
; millisecond on its cable: time enough for a guest that takes IRQ 1 for itself to miss none.
; Changes AL.
keyboard_on:
        in      al, KBC_COMMAND
        cmp     al, 0FFh                ; nobody
        je      .end
        mov     al, KBC_WRITE_COMMAND_BYTE
        out     KBC_COMMAND, al
.busy:  in      al, KBC_COMMAND
        test    al, KBC_IBF
        jnz     .busy
        mov     al, KBC_INT | KBC_SYS | KBC_DISABLE_AUX | KBC_TRANSLATE
        out     KBC_DATA, al
.end:   ret

; IRQ 1.  INT 15h AH=4Fh may take the code, or change it.
irq_keyboard:
        SERVICE
        in      al, KBC_COMMAND
        test    al, KBC_OBF
        in      al, KBC_DATA
        jz      .end                    ; it was no key
        mov     ah, 4Fh
        stc
        int     15h
        jnc     .end
        call    key_code
.end:   mov     al, OCW2_EOI
        out     MASTER, al
        jmp     return

; A scan code, AL, has come: E0h and E1h belong to the next, or next two.
key_code:
        mov     bl, PREFIX_E0
        cmp     al, 0E0h
        je      .prefix
        mov     bl, PREFIX_E1
        cmp     al, 0E1h
        jne     .code
.prefix:
        or      [BDA_PREFIX], bl
        ret
.code:  mov     bl, [BDA_PREFIX]        ; BL = the prefixes from here on
        test    bl, PREFIX_E1
        jz      .not_pause
        mov     ah, al                  ; E1 1D 45 or E1 9D C5: Pause, which does nothing
        and     ah, ~KEY_UP & 0FFh
        cmp     ah, SCAN_CTRL
        je      .end
.not_pause:
        mov     byte [BDA_PREFIX], 0
        test    bl, PREFIX_E1
        jnz     .end
        mov     si, key_shifts
        mov     ah, al
        and     ah, ~KEY_UP & 0FFh
.shift: cmp     ah, [cs:si]
        je      .is_shift
        add     si, 2
        cmp     si, key_shifts.end
        jne     .shift
.no_shift:
        test    al, KEY_UP
        jnz     .end
        call    key_make
.end:   ret

; Shift, Ctrl and Alt are down as long as their key is; locks change each time when theirs goes
; down, which a key that repeats does not do again.

.is_shift:
        mov     ah, [cs:si + 1]
        test    bl, PREFIX_E0
        jz      .real
        test    ah, SHIFT_LEFT | SHIFT_RIGHT
        jnz     .end                    ; E0 2A: comes with the grey keys, no Shift
        test    ah, LOCK_SCROLL | LOCK_NUM
        jnz     .no_shift               ; E0 46: Break
.real:  test    ah, LOCK_INSERT | LOCK_CAPS | LOCK_NUM | LOCK_SCROLL
        jnz     .lock
        or      [BDA_SHIFTS], ah
        test    al, KEY_UP
        jz      .end
        xor     [BDA_SHIFTS], ah
        ret
.lock:  test    al, KEY_UP
        jnz     .lock_up
        test    [BDA_LOCKS_DOWN], ah
        jnz     .repeats
        or      [BDA_LOCKS_DOWN], ah
        xor     [BDA_SHIFTS], ah
.repeats:
        test    ah, LOCK_INSERT         ; which is a key, too
        jnz     .no_shift
        ret
.lock_up:
        not     ah
        and     [BDA_LOCKS_DOWN], ah
        ret

key_shifts:
        db      SCAN_RIGHT_SHIFT, SHIFT_RIGHT
        db      SCAN_LEFT_SHIFT, SHIFT_LEFT
        db      SCAN_CTRL, SHIFT_CTRL
        db      SCAN_ALT, SHIFT_ALT
        db      SCAN_SCROLL, LOCK_SCROLL
        db      SCAN_NUM, LOCK_NUM
        db      SCAN_CAPS, LOCK_CAPS
        db      SCAN_INSERT, LOCK_INSERT
.end:

; The key with scan code AL, and E0h before it if BL says so, has gone down.
key_make:
        mov     cl, [BDA_SHIFTS]
        mov     ah, al                  ; AH = scan code, AL = character
        movzx   si, al
        test    bl, PREFIX_E0
        jnz     .grey
        cmp     al, SCAN_102ND
        je      .character
        cmp     al, SCAN_SPACE
        jbe     .character
        cmp     al, SCAN_F1
        jb      .none
        cmp     al, SCAN_F10
        jbe     .function
        cmp     al, SCAN_HOME
        jb      .none
        cmp     al, SCAN_DELETE
        jbe     .keypad
        cmp     al, SCAN_F11
        jb      .none
        cmp     al, SCAN_F12
        ja      .none
        add     ah, 85h - SCAN_F11      ; F11 and F12 have codes of their own
        mov     si, key_f11
        jmp     .with_shifts

; F1 to F10: the scan code tells what is held with it.

.function:
        mov     si, key_f1
.with_shifts:
        mov     al, 0
        test    cl, SHIFT_ALT
        jnz     .add
        inc     si
        test    cl, SHIFT_CTRL
        jnz     .add
        inc     si
        test    cl, SHIFT_LEFT | SHIFT_RIGHT
        jz      key_put
.add:   add     ah, [cs:si]
        jmp     key_put

; The grey keys between letters and keypad have the codes of the keypad's.

.grey:  mov     al, 0Dh
        cmp     ah, SCAN_ENTER
        je      .keypad_enter
        mov     al, '/'
        cmp     ah, SCAN_SLASH
        je      key_put
        cmp     ah, SCAN_STAR
        je      .print_screen
        cmp     ah, SCAN_SCROLL
        je      .break
        cmp     ah, SCAN_HOME
        jb      .none
        cmp     ah, SCAN_DELETE
        ja      .none
        jmp     .cursor
.keypad_enter:
        test    cl, SHIFT_CTRL
        jz      key_put
        mov     al, LF
        jmp     key_put

.keypad:
        mov     al, [cs:si + key_digits - SCAN_HOME]
        cmp     ah, SCAN_MINUS
        je      key_put
        cmp     ah, SCAN_PLUS
        je      key_put
        test    cl, SHIFT_CTRL | SHIFT_ALT
        jnz     .cursor
        mov     ch, cl
        and     ch, LOCK_NUM
        test    cl, SHIFT_LEFT | SHIFT_RIGHT
        jz      .digit
        xor     ch, LOCK_NUM
.digit: test    ch, ch
        jnz     key_put
.cursor:
        mov     al, 0
        test    cl, SHIFT_CTRL
        jz      key_put
        cmp     ah, SCAN_DELETE
        jne     .cursor_ctrl
        test    cl, SHIFT_ALT
        jnz     .reset
.cursor_ctrl:
        mov     ah, [cs:si + key_cursor_ctrl - SCAN_HOME]
        jmp     key_put

.print_screen:
        sti
        int     05h
        cli
        ret
.break: mov     ax, [BDA_KEYS_START]    ; the ring is emptied, and has then a key 0000h
        mov     [BDA_KEYS_HEAD], ax
        mov     [BDA_KEYS_TAIL], ax
        int     1Bh
        xor     ax, ax
        jmp     key_put
.reset: mov     al, KBC_RESET
        out     KBC_COMMAND, al
.none:  ret

; The keys that have characters.  AL = 0FFh in a table: this one has none so.

.character:
        cmp     al, SCAN_102ND
        jne     .in_table
        mov     si, 2Bh                 ; the same backslash
.in_table:
        test    cl, SHIFT_ALT
        jnz     .alt
        test    cl, SHIFT_CTRL
        jnz     .ctrl
        mov     al, [cs:si + key_plain]
        mov     ch, cl
        and     ch, SHIFT_LEFT | SHIFT_RIGHT
        test    cl, LOCK_CAPS
        jz      .shifted
        cmp     al, 'a'
        jb      .shifted
        cmp     al, 'z'
        ja      .shifted
        test    ch, ch                  ; Caps Lock turns Shift round, for letters
        setz    ch
.shifted:
        test    ch, ch
        jz      .got
        mov     al, [cs:si + key_shifted]
        cmp     ah, SCAN_TAB
        jne     .got
        mov     al, 0                   ; back tab
        jmp     key_put
.got:   cmp     al, 0FFh
        jne     key_put
        ret

.ctrl:  mov     al, [cs:si + key_ctrl]
        cmp     ah, 03h                 ; Ctrl-2 is a character 0
        je      key_put
        test    al, al
        jnz     key_put
        ret

.alt:   mov     al, 0
        mov     ch, [cs:si + key_plain]
        cmp     ch, ' '
        je      .alt_space
        cmp     ah, 02h
        jb      .none
        cmp     ah, 0Dh
        ja      .alt_letter
        add     ah, 78h - 02h           ; 1 to =
        jmp     key_put
.alt_letter:
        cmp     ch, 'a'
        jb      .none
        cmp     ch, 'z'
        ja      .none
        jmp     key_put
.alt_space:
        mov     al, ' '
                                        ; and on into:
; Put key AX in the ring.  CF = 1 if it is full, and the key is lost.  Changes SI and DI.
key_put:
        mov     di, [BDA_KEYS_TAIL]
        lea     si, [di + 2]
        cmp     si, [BDA_KEYS_END]
        jne     .no_end
        mov     si, [BDA_KEYS_START]
.no_end:
        cmp     si, [BDA_KEYS_HEAD]
        stc
        je      .full
        mov     [di + 400h], ax
        mov     [BDA_KEYS_TAIL], si
        clc
.full:  ret

; ---- INT 16h ----

int_keyboard:
        SERVICE
        cmp     ah, 05h
        je      .store
        cmp     ah, 12h
        je      .shifts_12h
        cmp     ah, 02h
        je      .shifts
        and     ah, ~10h & 0FFh
        cmp     ah, 01h
        jb      .wait
        je      .peek
        jmp     return

.shifts_12h:
        mov     byte [CALLER_AH], 0
.shifts:
        mov     al, [BDA_SHIFTS]
        mov     [CALLER_AL], al
        jmp     return

.store: mov     ax, cx
        call    key_put
        mov     al, 0
        adc     al, 0
        mov     [CALLER_AL], al
        jmp     return

.look:  call    com1_wait
.wait:  call    key_next
        je      .look
        add     bx, 2
        cmp     bx, [BDA_KEYS_END]
        jne     .no_end
        mov     bx, [BDA_KEYS_START]
.no_end:
        mov     [BDA_KEYS_HEAD], bx
        mov     [CALLER_AX], ax
        jmp     return

.peek:  call    key_next
        je      .none
        mov     [CALLER_AX], ax
        and     byte [CALLER_FLAGS], ~FLAGS_ZF & 0FFh
        jmp     return
.none:  or      byte [CALLER_FLAGS], FLAGS_ZF
        jmp     return

; ZF = 0, AX = the next key and BX = where in segment 40h it is, or ZF = 1.  Changes CX, DX, SI, DI.
key_next:
        mov     di, [BDA_KEYS_TAIL]     ; is there room for what COM1 has?
        lea     si, [di + 2]
        cmp     si, [BDA_KEYS_END]
        jne     .no_end
        mov     si, [BDA_KEYS_START]
.no_end:
        cmp     si, [BDA_KEYS_HEAD]
        je      .full
        call    com1_get
        jc      .full
        call    key_of_character
        call    key_put
        jmp     key_next
.full:  mov     bx, [BDA_KEYS_HEAD]
        mov     ax, [bx + 400h]
        cmp     bx, [BDA_KEYS_TAIL]
        ret

; AX = the key that gives character AL; its scan code is 0 if no key does.  What terminals send for
; the Backspace key, DEL, becomes what it gives here.  Changes CX and SI.
key_of_character:
        cmp     al, DEL
        jne     .known
        mov     al, BS
.known: mov     ah, 0
        mov     si, key_plain
        call    .search
        mov     si, key_shifted
        call    .search
        mov     si, key_ctrl
        call    .search
        ret
.search:
        mov     cx, key_plain.end - key_plain
.next:  cmp     al, [cs:si]
        je      .found
        inc     si
        loop    .next
        ret
.found: mov     ah, key_plain.end - key_plain
        sub     ah, cl
        pop     cx                      ; the search is over: not to the next table
        ret

; ---- what the keys of a US keyboard give ----

; Of scan codes 00h to 39h; 0FFh: nothing.
key_plain:      db      0FFh, ESC, "1234567890-=", BS, 9, "qwertyuiop[]", CR, 0FFh
                db      "asdfghjkl;'`", 0FFh, "\zxcvbnm,./", 0FFh, "*", 0FFh, " "
.end:
key_shifted:    db      0FFh, ESC, "!@#$%^&*()_+", BS, 9, "QWERTYUIOP{}", CR, 0FFh
                db      'ASDFGHJKL:"~', 0FFh, "|ZXCVBNM<>?", 0FFh, "*", 0FFh, " "

; With Ctrl; 0: nothing, but for Ctrl-2.
key_ctrl:       db      0, ESC, 0, 0, 0, 0, 0, 1Eh, 0, 0, 0, 0, 1Fh, 0, DEL, 0
                db      11h, 17h, 05h, 12h, 14h, 19h, 15h, 09h, 0Fh, 10h, 1Bh, 1Dh, LF, 0
                db      01h, 13h, 04h, 06h, 07h, 08h, 0Ah, 0Bh, 0Ch, 0, 0, 0, 0
                db      1Ch, 1Ah, 18h, 03h, 16h, 02h, 0Eh, 0Dh, 0, 0, 0, 0, 0, 0, " "

; Of the keypad, from SCAN_HOME on: with Num Lock, and with Ctrl.
key_digits:     db      "789-456+1230."
key_cursor_ctrl: db     77h, 8Dh, 84h, 8Eh, 73h, 8Fh, 74h, 90h, 75h, 91h, 76h, 92h, 93h

; What is added to the scan code of a function key with Alt, Ctrl, Shift.
key_f1:         db      68h - SCAN_F1, 5Eh - SCAN_F1, 54h - SCAN_F1
key_f11:        db      8Bh - 85h, 89h - 85h, 87h - 85h
