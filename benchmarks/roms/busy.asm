; A loop of arithmetic that the timer interrupts a thousand times a second.

%include "rom.inc"
%include "pit.inc"

STEPS           equ     100_000

benchmark:
        call    start_ticks
        mov     ebp, ROUNDS
        mov     eax, 1
.round: mov     ecx, STEPS
.step:  RANDOM  eax
        dec     ecx
        jnz     .step
        dec     ebp
        jnz     .round
        cmp     [ticks], ecx            ; 0?
        jne     .end
        xor     eax, eax                ; the timer does not tick
.end:   ret
