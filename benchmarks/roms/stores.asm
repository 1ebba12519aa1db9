; Little but stores, of every width, over a mebibyte; every fourth is of a sum read and written back.

%include "rom.inc"

SIZE            equ     100000h

benchmark:
        mov     ebp, ROUNDS
        mov     eax, 1
.round: mov     edi, DATA
.next:  mov     [edi], eax
        mov     [edi + 4], ebp
        mov     [edi + 8], ax
        mov     [edi + 10], bp
        mov     [edi + 12], al
        mov     [edi + 13], al
        mov     [edi + 14], ax
        add     [edi], edi
        add     eax, edi
        add     edi, 16
        cmp     edi, DATA + SIZE
        jb      .next
        dec     ebp
        jnz     .round

        xor     eax, eax
        mov     edi, DATA
.sum:   rol     eax, 1
        add     eax, [edi]
        add     edi, 4
        cmp     edi, DATA + SIZE
        jb      .sum
        ret
