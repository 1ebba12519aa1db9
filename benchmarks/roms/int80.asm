; System calls from level 3 by INT 80h, and back by IRET.

%include "rom.inc"

SYSTEM_CALL     equ     80h
TO_LEVEL_0      equ     81h
STACK_3         equ     DATA + 1000h

benchmark:
        SET_GATE SYSTEM_CALL, system_call, GATE_3
        SET_GATE TO_LEVEL_0, to_level_0, GATE_3
        push    dword DATA_3            ; what IRET pops: SS, ESP, EFLAGS, CS, EIP
        push    dword STACK_3
        push    dword 1 << 1
        push    dword CODE_3
        push    dword level_3
        iretd

level_3:
        xor     ebx, ebx
        mov     ecx, ROUNDS
.next:  mov     eax, ecx
        int     SYSTEM_CALL
        add     ebx, eax
        dec     ecx
        jnz     .next
        int     TO_LEVEL_0

; EAX = its argument, changed.
system_call:
        RANDOM  eax
        iretd

; Back to whoever called `benchmark`, whose stack is as it was.
to_level_0:
        mov     esp, STACK - 4
        mov     eax, ebx
        mov     ecx, DATA_0             ; IRET to level 3 has taken the data segments of level 0 away
        mov     ds, ecx                 ; (SDM 2A, "IRET/IRETD")
        mov     es, ecx
        ret
