; The primes below 100,000, by the sieve of Eratosthenes: a byte store for each multiple.

%include "rom.inc"

LIMIT           equ     100_000

benchmark:
        mov     ebp, ROUNDS
.round: mov     edi, DATA               ; a byte a number: 1 while it may be prime
        mov     ecx, LIMIT / 4
        mov     eax, 01010101h
        rep     stosd

        mov     esi, 2
.next:  cmp     byte [DATA + esi], 0
        je      .composite
        mov     edi, esi
        imul    edi, edi                ; smaller multiples have smaller factors
.cross: mov     byte [DATA + edi], 0
        add     edi, esi
        cmp     edi, LIMIT
        jb      .cross
.composite:
        inc     esi
        cmp     esi, 316                ; the root of LIMIT
        jbe     .next

        xor     eax, eax                ; the sum of all that are left
        mov     esi, 2
.sum:   movzx   ecx, byte [DATA + esi]
        neg     ecx
        and     ecx, esi
        add     eax, ecx
        inc     esi
        cmp     esi, LIMIT
        jb      .sum
        dec     ebp
        jnz     .round
        ret
