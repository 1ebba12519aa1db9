; Shell's sort of 8,192 random numbers: compares, and branches that cannot be foreseen.

%include "rom.inc"

COUNT           equ     8192

benchmark:
        mov     ebp, ROUNDS
        mov     edx, 1                  ; the random sequence goes on from round to round
.round: xor     ebx, ebx
.fill:  RANDOM  edx
        mov     [DATA + 4 * ebx], edx
        inc     ebx
        cmp     ebx, COUNT
        jb      .fill
        push    edx

        mov     edx, 3280               ; Knuth's gaps: (3^k - 1) / 2
.gap:   mov     ebx, edx                ; EBX = the element to be put in its place
.insert:
        mov     eax, [DATA + 4 * ebx]
        mov     edi, ebx
.shift: mov     esi, edi
        sub     esi, edx
        jb      .place
        mov     ecx, [DATA + 4 * esi]
        cmp     ecx, eax
        jbe     .place
        mov     [DATA + 4 * edi], ecx
        mov     edi, esi
        jmp     .shift
.place: mov     [DATA + 4 * edi], eax
        inc     ebx
        cmp     ebx, COUNT
        jb      .insert
        mov     eax, edx                ; the next gap is a third
        xor     edx, edx
        mov     ecx, 3
        div     ecx
        mov     edx, eax
        test    edx, edx
        jnz     .gap

        pop     edx
        dec     ebp
        jnz     .round

        xor     eax, eax
        xor     ebx, ebx
.sum:   rol     eax, 1
        add     eax, [DATA + 4 * ebx]
        inc     ebx
        cmp     ebx, COUNT
        jb      .sum
        ret
