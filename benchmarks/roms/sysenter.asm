; System calls from level 3 by SYSENTER, and back by SYSEXIT.

%include "rom.inc"

TO_LEVEL_0      equ     81h
STACK_3         equ     DATA + 1000h
IA32_SYSENTER_CS equ    174h            ; ESP and EIP follow

benchmark:
        SET_GATE TO_LEVEL_0, to_level_0, GATE_3
        xor     edx, edx
        mov     ecx, IA32_SYSENTER_CS
        mov     eax, CODE_0
        wrmsr
        inc     ecx
        mov     eax, STACK - 8192
        wrmsr
        inc     ecx
        mov     eax, system_call
        wrmsr
        mov     edx, level_3
        mov     ecx, STACK_3
        sysexit                         ; to EDX, with the stack ECX

level_3:
        xor     ebx, ebx
        mov     esi, ROUNDS
.next:  mov     eax, esi
        mov     edx, .back
        mov     ecx, esp
        sysenter
.back:  add     ebx, eax
        dec     esi
        jnz     .next
        int     TO_LEVEL_0

; EAX = its argument, changed.
system_call:
        RANDOM  eax
        sysexit

; Back to whoever called `benchmark`, whose stack is as it was.
to_level_0:
        mov     esp, STACK - 4
        mov     eax, ebx
        mov     ecx, DATA_0
        mov     ds, ecx
        mov     es, ecx
        ret
