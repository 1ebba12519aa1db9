; A matrix of 64 by 64 integers times itself, plus itself; that times the first, plus it; and so on.

%include "rom.inc"

ORDER           equ     64
ROW             equ     4 * ORDER
LEFT            equ     DATA
RIGHT           equ     DATA + ORDER * ROW
PRODUCT         equ     DATA + 2 * ORDER * ROW

benchmark:
        mov     eax, 1
        xor     ebx, ebx
.fill:  RANDOM  eax
        mov     ecx, eax
        shr     ecx, 16                 ; the low bits come back too soon
        mov     [LEFT + 4 * ebx], ecx
        mov     [PRODUCT + 4 * ebx], ecx
        inc     ebx
        cmp     ebx, ORDER * ORDER
        jb      .fill

        push    dword ROUNDS
.round: mov     esi, PRODUCT
        mov     edi, RIGHT
        mov     ecx, ORDER * ORDER
        rep     movsd

        mov     esi, LEFT               ; ESI = a row of the left, EDI = an element of the product
        mov     edi, PRODUCT
.row:   mov     ebx, RIGHT              ; EBX = a column of the right
.column:
        xor     eax, eax
        xor     ecx, ecx
        mov     edx, ebx
.term:  mov     ebp, [esi + 4 * ecx]
        imul    ebp, [edx]
        add     eax, ebp
        add     edx, ROW
        inc     ecx
        cmp     ecx, ORDER
        jb      .term
        add     eax, [edi - PRODUCT + LEFT]
        mov     [edi], eax
        add     edi, 4
        add     ebx, 4
        cmp     ebx, RIGHT + ROW
        jb      .column
        add     esi, ROW
        cmp     esi, LEFT + ORDER * ROW
        jb      .row
        dec     dword [esp]
        jnz     .round
        pop     ecx

        xor     eax, eax
        xor     ebx, ebx
.sum:   rol     eax, 1
        add     eax, [PRODUCT + 4 * ebx]
        inc     ebx
        cmp     ebx, ORDER * ORDER
        jb      .sum
        ret
