; CRC-32 of 64 KiB, by a table: two loads a byte, and nothing that can be foreseen.

%include "rom.inc"

POLYNOMIAL      equ     0EDB88320h      ; IEEE 802.3, bit-reversed
TABLE           equ     DATA
BUFFER          equ     DATA + 1000h
BUFFER_SIZE     equ     10000h

benchmark:
        xor     ebx, ebx
.entry: mov     eax, ebx
        mov     ecx, 8
.bit:   shr     eax, 1
        jnc     .zero
        xor     eax, POLYNOMIAL
.zero:  loop    .bit
        mov     [TABLE + 4 * ebx], eax
        inc     ebx
        cmp     ebx, 256
        jb      .entry

        mov     eax, 1
        xor     ebx, ebx
.fill:  RANDOM  eax
        mov     [BUFFER + 4 * ebx], eax
        inc     ebx
        cmp     ebx, BUFFER_SIZE / 4
        jb      .fill

        mov     ebp, ROUNDS
        mov     eax, -1
.round: xor     esi, esi
.byte:  movzx   ecx, byte [BUFFER + esi]
        xor     cl, al
        shr     eax, 8
        xor     eax, [TABLE + 4 * ecx]
        inc     esi
        cmp     esi, BUFFER_SIZE
        jb      .byte
        dec     ebp
        jnz     .round
        not     eax
        ret
