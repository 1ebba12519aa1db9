; Port accesses, thirteen a round: UART, interrupt controller, timer, CMOS RAM, and a port that goes
; nowhere.

%include "rom.inc"

SCR             equ     7               ; the UART's scratch register
POST_CODE       equ     80h
CMOS_FREE       equ     40h             ; a byte of CMOS RAM
LATCH_COUNTER_0 equ     0

benchmark:
        mov     ebp, ROUNDS
        xor     ebx, ebx
        xor     eax, eax
.round: out     POST_CODE, al
        mov     edx, COM1 + SCR
        mov     eax, ebp
        out     dx, al
        in      al, dx
        add     ebx, eax
        rol     ebx, 1
        mov     edx, COM1 + LSR
        in      al, dx
        add     ebx, eax
        mov     al, CMOS_FREE
        out     CMOS_INDEX, al
        mov     eax, ebx
        out     CMOS_DATA, al
        mov     al, CMOS_FREE
        out     CMOS_INDEX, al
        in      al, CMOS_DATA           ; not in the sum: v86's keeps nothing
        mov     eax, ebx
        out     MASTER_DATA, al
        in      al, MASTER_DATA
        add     ebx, eax
        mov     al, LATCH_COUNTER_0
        out     PIT_CONTROL, al
        in      al, PIT_COUNTER_0       ; the time, which is nobody's but its machine's
        in      al, PIT_COUNTER_0
        dec     ebp
        jnz     .round
        mov     eax, ebx
        ret
