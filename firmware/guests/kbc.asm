; kbc: walks through what keyboard controller, keyboard and mouse can be told, and prints all that
; they answer.
;
; A line begins with what is written and where: 64 the controller, 60 the keyboard or a command's
; byte, AU the mouse.  After a colon come the answers: k of keyboard or controller, m of the
; mouse (status bit 5); a minus is an answer that has not come in time.
;
;       60<F2: kFA kAB k41
;
; No key is pressed and nothing moved: whoever runs it elsewhere gets the same.

        cpu     386
        bits    16
        org     7C00h
%include "pc.inc"

TICKS           equ     46Ch            ; of the ROM: 18.2 a second
PATIENCE_TICKS  equ     20              ; a self-test takes up to half a second
QUIET_TICKS     equ     2               ; nothing comes for so long: nothing will

; What a script is made of: one of these, and a byte or a count.

TO_CONTROLLER   equ     0               ; write it to port 64h
TO_PORT_60      equ     1               ; write it to port 60h
TO_MOUSE        equ     2               ; write it to the mouse
COUNT           equ     3               ; read so many answers, and the line ends
QUIET           equ     4               ; see that no answer comes, and the line ends
THE_END         equ     5

%macro CONTROLLER 1-*
%rep %0
        db      TO_CONTROLLER, %1
%rotate 1
%endrep
%endmacro

%macro PORT_60 1-*
%rep %0
        db      TO_PORT_60, %1
%rotate 1
%endrep
%endmacro

%macro MOUSE 1-*
%rep %0
        db      TO_MOUSE, %1
%rotate 1
%endrep
%endmacro

%macro ANSWERS 1
        db      COUNT, %1
%endmacro

%macro SILENCE 0
        db      QUIET, 0
%endmacro

        cld
        in      al, MASTER_DATA         ; or the ROM would take what is answered
        or      al, 1 << KBC_IRQ
        out     MASTER_DATA, al
        mov     si, script
next:   lodsw                           ; AL = what, AH = its byte
        cmp     al, TO_CONTROLLER
        je      controller
        cmp     al, TO_PORT_60
        je      port_60
        cmp     al, TO_MOUSE
        je      mouse
        cmp     al, COUNT
        je      answers
        cmp     al, QUIET
        je      quiet
        jmp     serial_drain_and_end

controller:
        mov     di, to_64
        call    say
        mov     al, ah
        call    wait_and_command
        jmp     next

port_60:
        mov     di, to_60
        call    say
        call    wait_until_taken
        mov     al, ah
        out     KBC_DATA, al
        jmp     next

mouse:  mov     di, to_mouse
        call    say
        mov     al, KBC_WRITE_AUX
        call    wait_and_command
        call    wait_until_taken
        mov     al, ah
        out     KBC_DATA, al
        jmp     next

answers:
        movzx   cx, ah
        mov     al, ':'
        call    print_character
.next:  mov     al, ' '
        call    print_character
        mov     dx, PATIENCE_TICKS
        call    answer
        loop    .next
        jmp     line_ends

quiet:  mov     al, ':'
        call    print_character
        mov     al, ' '
        call    print_character
        mov     dx, QUIET_TICKS
        call    answer
line_ends:
        mov     al, CR
        call    print_character
        mov     al, LF
        call    print_character
        jmp     next

; Write AL to the controller, when it can take it.
wait_and_command:
        push    ax
        call    wait_until_taken
        pop     ax
        out     KBC_COMMAND, al
        ret

; Wait until the controller has taken what was written before.  Keeps AH.
wait_until_taken:
        in      al, KBC_COMMAND
        test    al, KBC_IBF
        jnz     wait_until_taken
        ret

; Print the next answer, or a minus if none comes in DX ticks.
answer: add     dx, [TICKS]
.wait:  in      al, KBC_COMMAND
        test    al, KBC_OBF
        jnz     .there
        cmp     [TICKS], dx
        js      .wait
        mov     al, '-'
        jmp     print_character
.there: mov     ah, 'k'
        test    al, KBC_AUX
        jz      .print
        mov     ah, 'm'
.print: mov     al, ah
        call    print_character
        in      al, KBC_DATA
        jmp     print_hexadecimal

; Print the four characters at DI, and AH.
say:    mov     cx, 4
.next:  mov     al, [di]
        inc     di
        call    print_character
        loop    .next
        mov     al, ah

; Print AL as two hexadecimal digits.  Keeps AH.
print_hexadecimal:
        push    ax
        shr     al, 4
        call    .digit
        pop     ax
        push    ax
        and     al, 0Fh
        call    .digit
        pop     ax
        ret
.digit: add     al, '0'
        cmp     al, '9'
        jbe     print_character
        add     al, 'A' - '0' - 10

print_character:
        jmp     serial_put

%include "serial.inc"

to_64:          db      " 64<"
to_60:          db      " 60<"
to_mouse:       db      " AU<"

script:
; The controller alone.
        CONTROLLER      0AAh
        ANSWERS         1
        CONTROLLER      60h
        PORT_60         44h
        CONTROLLER      20h
        ANSWERS         1
        CONTROLLER      0A9h
        ANSWERS         1
        CONTROLLER      0ABh
        ANSWERS         1
        CONTROLLER      0C0h
        ANSWERS         1
        CONTROLLER      0D0h
        ANSWERS         1
        CONTROLLER      0ADh, 20h
        ANSWERS         1
        CONTROLLER      0A7h, 20h
        ANSWERS         1
        CONTROLLER      0AEh, 20h
        ANSWERS         1
        CONTROLLER      0A8h, 20h
        ANSWERS         1
        CONTROLLER      0D2h
        PORT_60         5Ah
        ANSWERS         1
        CONTROLLER      0D3h
        PORT_60         0A5h
        ANSWERS         1
        CONTROLLER      0AAh, 0ABh      ; one answer, and one that waits
        ANSWERS         2
        CONTROLLER      0D2h
        PORT_60         11h
        CONTROLLER      0D3h
        PORT_60         22h
        ANSWERS         2
        CONTROLLER      0D1h
        PORT_60         0CDh            ; A20 low
        CONTROLLER      0D0h
        ANSWERS         1
        CONTROLLER      0DFh, 0D0h      ; A20 high
        ANSWERS         1
        CONTROLLER      0DDh, 0D0h
        ANSWERS         1
        CONTROLLER      0D1h
        PORT_60         0CFh
        CONTROLLER      0D0h
        ANSWERS         1
        CONTROLLER      0FFh            ; a pulse of nothing
        SILENCE

; The keyboard, translated.
        PORT_60         0EEh
        ANSWERS         1
        PORT_60         0F2h
        ANSWERS         3
        PORT_60         0EDh
        ANSWERS         1
        PORT_60         02h
        ANSWERS         1
        PORT_60         0F0h, 00h
        ANSWERS         2
        PORT_60         0F3h
        ANSWERS         1
        PORT_60         2Bh
        ANSWERS         1
        PORT_60         0F5h
        ANSWERS         1
        PORT_60         0F6h
        ANSWERS         1
        PORT_60         0F4h
        ANSWERS         1
        PORT_60         0EFh            ; no command
        ANSWERS         1
        PORT_60         0F1h
        ANSWERS         1
        PORT_60         0FFh
        ANSWERS         2
        SILENCE

; It answers whether its port was enabled or not: a byte that is sent to it enables the port.
        CONTROLLER      0ADh
        PORT_60         0EEh
        ANSWERS         1
        CONTROLLER      20h
        ANSWERS         1

; The keyboard, as it is.
        CONTROLLER      60h
        PORT_60         04h
        PORT_60         0F2h
        ANSWERS         3
        PORT_60         0F0h
        ANSWERS         1
        PORT_60         00h
        ANSWERS         2
        PORT_60         0F0h
        ANSWERS         1
        PORT_60         01h
        ANSWERS         1
        PORT_60         0F0h
        ANSWERS         1
        PORT_60         00h
        ANSWERS         2
        PORT_60         0F6h
        ANSWERS         1
        PORT_60         0F0h
        ANSWERS         1
        PORT_60         00h
        ANSWERS         2

; The mouse.
        MOUSE           0FFh
        ANSWERS         3
        MOUSE           0F2h
        ANSWERS         2
        MOUSE           0E9h
        ANSWERS         4
        MOUSE           0E7h
        ANSWERS         1
        MOUSE           0E8h
        ANSWERS         1
        MOUSE           03h
        ANSWERS         1
        MOUSE           0F3h
        ANSWERS         1
        MOUSE           40
        ANSWERS         1
        MOUSE           0E9h
        ANSWERS         4
        MOUSE           0E6h
        ANSWERS         1
        MOUSE           0F0h
        ANSWERS         1
        MOUSE           0E9h
        ANSWERS         4
        MOUSE           0EBh
        ANSWERS         4
        MOUSE           0EAh
        ANSWERS         1
        MOUSE           0EEh
        ANSWERS         1
        MOUSE           0F2h
        ANSWERS         1
        MOUSE           12h
        ANSWERS         1
        MOUSE           0ECh
        ANSWERS         1
        MOUSE           0F4h
        ANSWERS         1
        MOUSE           0E9h
        ANSWERS         4
        MOUSE           0F5h
        ANSWERS         1
        MOUSE           0F6h
        ANSWERS         1
        MOUSE           0E9h
        ANSWERS         4

; Three rates make it a mouse with a wheel, three others one with five buttons.
%macro RATE 1
        MOUSE           0F3h
        ANSWERS         1
        MOUSE           %1
        ANSWERS         1
%endmacro
        RATE            200
        RATE            100
        RATE            80
        MOUSE           0F2h
        ANSWERS         2
        MOUSE           0EBh
        ANSWERS         5
        RATE            200
        RATE            200
        RATE            80
        MOUSE           0F2h
        ANSWERS         2
        MOUSE           0EBh
        ANSWERS         5
        MOUSE           0FFh
        ANSWERS         3
        MOUSE           0F2h
        ANSWERS         2
        SILENCE

        CONTROLLER      0A7h            ; disabled, and enabled by what is sent
        MOUSE           0E9h
        ANSWERS         4
        CONTROLLER      20h
        ANSWERS         1
        db              THE_END, 0
