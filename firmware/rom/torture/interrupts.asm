; Hardware interrupts: when they are taken, and when they wait (SDM 3A 6.8; volume 2, STI, MOV, HLT).
;
; Counter 0 of the timer asks for IRQ 0 once; with interrupts off we wait until the controller says
; so, and then let it in.  So nothing depends on how long anything takes.

        CHAPTER "hardware interrupts"

PIT_MODE_0      equ     30h             ; counter 0, low byte then high, mode 0: once
OCW3_READ_IRR   equ     0Ah
IRQ_0           equ     20h             ; its vector
MASK_ALL        equ     0FFh

        jmp     interrupt_tests

; Make IRQ 0 wait in the controller, unmasked.  Keeps every register.
request:
        push    eax
        mov     al, 0FEh
        out     MASTER_DATA, al
        mov     al, PIT_MODE_0
        out     PIT_CONTROL, al
        mov     al, 10h
        out     PIT_COUNTER_0, al
        mov     al, 0
        out     PIT_COUNTER_0, al
        mov     al, OCW3_READ_IRR
        out     MASTER, al
.wait:  in      al, MASTER
        test    al, 1
        jz      .wait
        pop     eax
        ret

; The same, but come back while the timer still runs.
request_later:
        push    eax
        mov     al, 0FEh
        out     MASTER_DATA, al
        mov     al, PIT_MODE_0
        out     PIT_CONTROL, al
        mov     al, 0
        out     PIT_COUNTER_0, al
        mov     al, 8                   ; 2048 ticks, 1.7 ms
        out     PIT_COUNTER_0, al
        pop     eax
        ret

%macro END_OF_INTERRUPT 0
        CAUGHT
        SHOW    " eax=", [saved_eax]
        mov     al, OCW3_READ_ISR
        out     MASTER, al
        in      al, MASTER
        SHOW_BYTE " isr=", al
        mov     al, OCW2_EOI
        out     MASTER, al
        mov     al, MASK_ALL
        out     MASTER_DATA, al
        END
%endmacro

interrupt_tests:
        TEST    "STI holds the interrupt off for one instruction"
        call    request
        xor     eax, eax
        sti
        inc     eax
        inc     eax
        inc     eax
        END_OF_INTERRUPT
        TEST    "one comes while the processor jumps on the spot"
        call    request_later
        sti
.busy:  jmp     .busy
        END_OF_INTERRUPT
        TEST    "STI, CLI: no room for it"
        call    request
        xor     eax, eax
        sti
        cli
        inc     eax
        inc     eax
        sti
        nop
        nop
        END_OF_INTERRUPT
        TEST    "POPFD holds nothing off"
        call    request
        xor     eax, eax
        push    dword IF | ALWAYS
        popfd
        inc     eax
        inc     eax
        END_OF_INTERRUPT
        TEST    "nor does IRET"
        call    request
        xor     eax, eax
        push    dword IF | ALWAYS
        push    dword CODE_32
        push    dword .by_iret
        iretd
.by_iret:
        inc     eax
        inc     eax
        END_OF_INTERRUPT
        TEST    "MOV SS after POPFD"
        mov     cx, ss
        call    request
        xor     eax, eax
        push    dword IF | ALWAYS
        popfd
        mov     ss, cx
        inc     eax
        inc     eax
        END_OF_INTERRUPT
        TEST    "STI, MOV SS, one more"
        mov     cx, ss
        call    request
        xor     eax, eax
        sti
        mov     ss, cx
        inc     eax
        inc     eax
        END_OF_INTERRUPT
        TEST    "STI, POP SS, one more"
        call    request
        xor     eax, eax
        push    ss
        sti
        pop     ss
        inc     eax
        inc     eax
        END_OF_INTERRUPT
        TEST    "STI before HLT: the interrupt ends the HLT"
        call    request
        xor     eax, eax
        sti
        hlt
        inc     eax
        END_OF_INTERRUPT
        TEST    "HLT waits for an interrupt to come"
        call    request_later
        xor     eax, eax
        sti
        hlt
        inc     eax
        END_OF_INTERRUPT
        TEST    "STI before a fault: the fault, then nothing"
        call    request
        sti
        ud2
        CAUGHT
        mov     al, MASK_ALL
        out     MASTER_DATA, al
        END
        TEST    "a trap gate leaves IF, and a second request waits for EOI"
        SET_IDT_GATE IRQ_0, CODE_32, .handler, TRAP_32
        call    request
        xor     eax, eax
        sti
        nop
        SHOW    " ", eax
        jmp     .handler_end
.handler:
        inc     eax
        pushfd
        pop     ebx
        and     ebx, ~ARITHMETIC
        SHOW    " fl=", ebx
        cli
        push    eax
        call    request
        pop     eax
        sti
        nop
        nop
        PRINT   " still here"
        cmp     eax, 2
        je      .last
        mov     ecx, eax
        mov     al, OCW2_EOI
        out     MASTER, al
        mov     eax, ecx
        nop
        PRINT   " back"
.last:  cli
        mov     ecx, eax
        mov     al, MASK_ALL
        out     MASTER_DATA, al
        mov     al, OCW2_EOI
        out     MASTER, al
        mov     eax, ecx
        iretd
.handler_end:
        END
        TEST    "an interrupt at level 3"
        call    request
        TO_LEVEL_3 IF | ALWAYS
        inc     eax
        END_OF_INTERRUPT
        TEST    "an interrupt in virtual-8086 mode"
        call    request
        TO_V86  IF
        inc     eax
        bits    32
        END_OF_INTERRUPT
        TEST    "an interrupt through a task gate"
        NEW_TASK .task, ALWAYS
        SET_IDT_GATE IRQ_0, TSS_B_SELECTOR, 0, TASK_GATE
        call    request
        sti
        inc     eax
        inc     eax
.task:  call    tell_task
        call    tell_saved
        mov     al, OCW2_EOI
        out     MASTER, al
        mov     al, MASK_ALL
        out     MASTER_DATA, al
        END
        TEST    "its gate is absent: an error code with EXT"
        and     byte [IDT + 8 * IRQ_0 + 5], 7Fh
        call    request
        sti
        nop
        nop
        END_OF_INTERRUPT
        TEST    "its gate of level 0 serves level 3, and one of level 3 as well"
        or      byte [IDT + 8 * IRQ_0 + 5], DPL_3
        call    request
        TO_LEVEL_3 IF | ALWAYS
        nop
        END_OF_INTERRUPT
        TEST    "TF and an interrupt: the trap's handler first"
        call    request
        mov     dword [returns], 1
        xor     eax, eax
        push    dword TF | IF | ALWAYS
        popfd
        inc     eax
        inc     eax
        END_OF_INTERRUPT
        TEST    "an interrupt between two iterations of REP MOVSB"
        call    request_later
        mov     esi, 100000h
        mov     edi, 100000h
        mov     ecx, 0FFFFFFFFh
        sti
        nop                             ; QEMU does not leave the shadow of STI within a REP
.rep:   rep     movsb
        CAUGHT
        mov     al, OCW2_EOI
        out     MASTER, al
        mov     al, MASK_ALL
        out     MASTER_DATA, al
        mov     eax, [saved_ecx]        ; what is left and what is done go together
        add     eax, [saved_esi]
        SHOW    " ecx+esi=", eax
        mov     eax, [saved_edi]
        sub     eax, [saved_esi]
        SHOW    " edi-esi=", eax
        END
        TEST    "INT 20h and its EOI: nothing in service"
        mov     dword [returns], 1
        int     20h
        mov     al, OCW3_READ_ISR
        out     MASTER, al
        in      al, MASTER
        SHOW_BYTE " isr=", al
        END
