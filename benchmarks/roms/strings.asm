; String instructions with REP: fill 64 KiB, copy them, compare and scan the copy, by dwords and bytes.

%include "rom.inc"

SIZE            equ     10000h
SOURCE          equ     DATA
COPY            equ     DATA + SIZE

benchmark:
        mov     ebp, ROUNDS
        xor     edx, edx
.round: mov     eax, ebp
        mov     edi, SOURCE
        mov     ecx, SIZE / 4
        rep     stosd
        mov     byte [SOURCE + SIZE - 1], 0FFh  ; what is found last
        mov     esi, SOURCE
        mov     edi, COPY
        mov     ecx, SIZE / 8
        rep     movsd
        mov     ecx, SIZE / 2
        rep     movsb
        mov     esi, SOURCE
        mov     edi, COPY
        mov     ecx, SIZE
        repe cmpsb
        setne   al
        movzx   eax, al
        add     edx, eax
        mov     edi, COPY
        mov     ecx, SIZE
        mov     al, 0FFh
        repne scasb
        add     edx, edi
        dec     ebp
        jnz     .round
        mov     eax, edx
        ret
