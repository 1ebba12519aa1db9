; ==== COM1, and INT 14h ====
;
; DX = 0 is COM1; others are not there and time out.
;
;       00h     set speed and format by AL: bits 7-5 speed, 4-3 parity, 2 stop bits, 1-0 length
;       01h     send AL
;       02h     AL = the next character
;       03h     nothing
;       after all of them: AH = line status, bit 7: it has timed out; AL = modem status where
;       nothing else is said

SERIAL_TIMED_OUT equ    80h
SERIAL_TICKS    equ     36              ; about 2 s

; Send AL on COM1.  Keeps every register.  DS must be 0.
com1_put:
        push    dx
        push    ax
        mov     dx, [BDA_COM1]
        test    dx, dx
        jz      .absent
        add     dx, LSR
.busy:  in      al, dx
        test    al, LSR_THRE
        jz      .busy
        pop     ax
        push    ax
        add     dx, THR - LSR
        out     dx, al
.absent:
        pop     ax
        pop     dx
        ret

; CF = 0 and AL = a character that COM1 has received, or CF = 1.  Changes DX.
com1_get:
        mov     dx, [BDA_COM1]
        test    dx, dx
        jz      .none
        add     dx, LSR
        in      al, dx
        test    al, LSR_DR
        jz      .none
        add     dx, RBR - LSR
        in      al, dx
        clc
        ret
.none:  stc
        ret

; Wait for an interrupt: of COM1 when it has received something, or any other.  Interrupts are off
; here and when it returns.  STI takes effect one instruction late: nothing can come between what
; the caller has looked at and the HLT.  Where the guest has masked IRQ 4, IRQ 0 ends it.
com1_wait:
        push    ax
        push    dx
        mov     dx, [BDA_COM1]
        test    dx, dx
        jz      .absent
        mov     al, IER_ERBFI
        add     dx, IER
        out     dx, al
.absent:
        sti
        hlt
        cli
        pop     dx
        pop     ax
        ret

; IRQ 4: it has done its work by ending the HLT above.  The UART must let go of its line: the 8259
; sees edges only.
irq_com1:
        push    ax
        push    dx
        mov     dx, COM1 + IER
        xor     al, al
        out     dx, al
        mov     al, OCW2_EOI
        out     MASTER, al
        pop     dx
        pop     ax
        iret

int_serial:
        SERVICE
        mov     byte [CALLER_AH], SERIAL_TIMED_OUT
        test    dx, dx
        jnz     return
        cmp     word [BDA_COM1], 0
        je      return
        cmp     ah, 01h
        jb      .set
        je      .send
        cmp     ah, 03h
        jb      .receive
        je      .status
        jmp     return

.set:   mov     ah, al
        mov     dx, COM1 + LCR
        mov     al, LCR_DLAB
        out     dx, al
        movzx   bx, ah
        shr     bx, 5
        shl     bx, 1
        mov     bx, [cs:serial_divisors + bx]
        mov     dx, COM1 + DLL
        mov     al, bl
        out     dx, al
        mov     dx, COM1 + DLM
        mov     al, bh
        out     dx, al
        mov     dx, COM1 + LCR
        mov     al, ah
        and     al, 1Fh
        out     dx, al
.status:
        mov     dx, COM1 + MSR
        in      al, dx
        mov     [CALLER_AL], al
        jmp     .line

.send:  call    com1_put
        jmp     .line

.receive:
        mov     ebx, [BDA_TICKS]
.look:  call    com1_get
        jnc     .received
        mov     eax, [BDA_TICKS]
        sub     eax, ebx
        cmp     eax, SERIAL_TICKS       ; or midnight has passed
        jae     return
        call    com1_wait
        jmp     .look
.received:
        mov     [CALLER_AL], al
.line:  mov     dx, COM1 + LSR
        in      al, dx
        and     al, ~SERIAL_TIMED_OUT & 0FFh
        mov     [CALLER_AH], al
        jmp     return

; For 110, 150, 300, 600, 1200, 2400, 4800, 9600 baud.
serial_divisors:
        dw      1047, 768, 384, 192, 96, 48, 24, 12
