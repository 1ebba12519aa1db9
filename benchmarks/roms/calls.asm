; Fibonacci numbers by recursion, every third call through a pointer.

%include "rom.inc"

NUMBER          equ     24

benchmark:
        mov     ebp, ROUNDS
        xor     edi, edi
        mov     ebx, fibonacci
.round: push    dword NUMBER
        call    fibonacci
        add     edi, eax
        dec     ebp
        jnz     .round
        mov     eax, edi
        ret

; Takes one number off the stack; EAX = that Fibonacci number; EBX = this function.
fibonacci:
        push    esi
        mov     eax, [esp + 8]
        cmp     eax, 2
        jb      .end
        dec     eax
        push    eax
        call    fibonacci
        mov     esi, eax
        mov     eax, [esp + 8]
        sub     eax, 2
        push    eax
        call    ebx
        add     eax, esi
.end:   pop     esi
        ret     4
