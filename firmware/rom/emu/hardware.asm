; ==== Interrupts: the ways out of services, and what the hardware asks for ====

; IRET gives the caller its own FLAGS back.  A service that answers in a flag changes the copy
; on the stack.

return_carry_set:
        or      byte [CALLER_FLAGS], FLAGS_CF
        jmp     return
return_carry_clear:
        and     byte [CALLER_FLAGS], ~FLAGS_CF & 0FFh
return: popad
        pop     es
        pop     ds
        iret

; An IRQ that nobody handles: end it.  A controller with nothing in service has not asked for
; this: it was an INT instruction, or a request that went away before it was acknowledged (IRQ 7 or
; 15 then).
ignore_slave:
        push    ax
        mov     al, OCW3_READ_ISR
        out     SLAVE, al
        in      al, SLAVE
        test    al, al
        jz      ignore_master.master
        mov     al, OCW2_EOI
        out     SLAVE, al
        jmp     ignore_master.master
ignore_master:
        push    ax
.master:
        mov     al, OCW3_READ_ISR
        out     MASTER, al
        in      al, MASTER
        test    al, al
        jz      .end
        mov     al, OCW2_EOI
        out     MASTER, al
.end:   pop     ax
ignore: iret

; IRQ 13: the coprocessor has met an error.  The latch that holds its line is let go, and what a PC
; without an AT's second controller would have got is called: NMI's vector.
irq_fpu:
        push    ax
        xor     al, al
        out     FPU_CLEAR, al
        mov     al, OCW2_EOI
        out     SLAVE, al
        out     MASTER, al
        pop     ax
        int     02h
        iret
