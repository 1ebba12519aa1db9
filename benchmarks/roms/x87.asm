; As matrix.asm, of 32 by 32 doubles, in the x87's registers.

%include "rom.inc"

ORDER           equ     32
ROW             equ     8 * ORDER
LEFT            equ     DATA
RIGHT           equ     DATA + ORDER * ROW
PRODUCT         equ     DATA + 2 * ORDER * ROW

benchmark:
        fninit
        mov     eax, 1
        xor     ebx, ebx
.fill:  RANDOM  eax
        push    eax
        fild    dword [esp]             ; from -2^31 to 2^31 - 1 ...
        pop     ecx
        fmul    dword [scale]           ; ... and so from -1/16 to 1/16: no product overflows
        fst     qword [LEFT + 8 * ebx]
        fstp    qword [PRODUCT + 8 * ebx]
        inc     ebx
        cmp     ebx, ORDER * ORDER
        jb      .fill

        mov     ebp, ROUNDS
.round: mov     esi, PRODUCT
        mov     edi, RIGHT
        mov     ecx, ORDER * ORDER * 2
        rep     movsd

        mov     esi, LEFT               ; ESI = a row of the left, EDI = an element of the product
        mov     edi, PRODUCT
.row:   mov     ebx, RIGHT              ; EBX = a column of the right
.column:
        fldz
        xor     ecx, ecx
        mov     edx, ebx
.term:  fld     qword [esi + 8 * ecx]
        fmul    qword [edx]
        faddp   st1, st0
        add     edx, ROW
        inc     ecx
        cmp     ecx, ORDER
        jb      .term
        fadd    qword [edi - PRODUCT + LEFT]
        fstp    qword [edi]
        add     edi, 8
        add     ebx, 8
        cmp     ebx, RIGHT + ROW
        jb      .column
        add     esi, ROW
        cmp     esi, LEFT + ORDER * ROW
        jb      .row
        dec     ebp
        jnz     .round

        xor     eax, eax
        xor     ebx, ebx
.sum:   rol     eax, 1
        add     eax, [PRODUCT + 4 * ebx]
        inc     ebx
        cmp     ebx, ORDER * ORDER * 2
        jb      .sum
        ret

scale:  dd      2E000000h               ; 2^-35, as a single
