; ==== IRQ 0; INT 1Ah: ticks, and the clock ====
;
;       00h     CX:DX = ticks since midnight, AL = 1 once after it has passed
;       01h     set them to CX:DX
;       02h     CH, CL, DH = hours, minutes, seconds in BCD, DL = 1: daylight saving
;       03h     set them
;       04h     CH, CL, DH, DL = century, year, month, day in BCD
;       05h     set them
;       others, and where there is no clock: CF = 1

TICKS_A_DAY     equ     1800B0h         ; 24 hours at 65536 / 1193182 s each

; Count the tick, and let the guest know.
irq_timer:
        push    ax
        push    ds
        push    word 0
        pop     ds
        inc     dword [BDA_TICKS]
        cmp     dword [BDA_TICKS], TICKS_A_DAY
        jb      .same_day
        mov     dword [BDA_TICKS], 0
        mov     byte [BDA_MIDNIGHT], 1
.same_day:
        int     1Ch
        mov     al, OCW2_EOI
        out     MASTER, al
        pop     ds
        pop     ax
        iret

; The ticks since midnight by the clock, at power-on.
time_of_day:
        call    clock_settle
        jc      .end
        mov     al, CMOS_HOURS
        call    clock_number
        imul    ebx, eax, 60
        mov     al, CMOS_MINUTES
        call    clock_number
        add     ebx, eax
        imul    ebx, ebx, 60
        mov     al, CMOS_SECONDS
        call    clock_number
        add     eax, ebx
        mov     edx, PIT_HZ
        mul     edx
        shrd    eax, edx, 16
        cmp     eax, TICKS_A_DAY
        jae     .end                    ; no time of day
        mov     [BDA_TICKS], eax
.end:   ret

; EAX = the BCD number in byte AL of the clock.
clock_number:
        call    cmos_read
        mov     ah, al
        shr     ah, 4
        and     al, 0Fh
        aad                             ; AL = 10 * AH + AL
        movzx   eax, al
        ret

; CF = 0 when there is a clock and its time will not change for 244 us, or CF = 1.  Changes AL.
clock_settle:
        mov     al, CMOS_D
        call    cmos_read
        cmp     al, CMOS_D_VRT          ; no battery, or no such chip: all ones
        jne     .none
.updating:
        mov     al, CMOS_A
        call    cmos_read
        test    al, CMOS_A_UIP
        jnz     .updating
        clc
        ret
.none:  stc
        ret

int_time:
        SERVICE
        cmp     ah, 05h
        ja      return_carry_set
        movzx   bx, ah
        shl     bx, 1
        jmp     [cs:.functions + bx]
.functions:
        dw      time_ticks, time_set_ticks, time_clock, time_set_clock, time_date, time_set_date

time_ticks:
        mov     ax, [BDA_TICKS]
        mov     [CALLER_DX], ax
        mov     ax, [BDA_TICKS + 2]
        mov     [CALLER_CX], ax
        mov     al, 0
        xchg    al, [BDA_MIDNIGHT]
        mov     [CALLER_AL], al
        jmp     return_carry_clear

time_set_ticks:
        mov     [BDA_TICKS], dx
        mov     [BDA_TICKS + 2], cx
        mov     byte [BDA_MIDNIGHT], 0
        jmp     return_carry_clear

time_clock:
        call    clock_settle
        jc      return_carry_set
        mov     al, CMOS_HOURS
        call    cmos_read
        mov     [CALLER_CH], al
        mov     al, CMOS_MINUTES
        call    cmos_read
        mov     [CALLER_CL], al
        mov     al, CMOS_SECONDS
        call    cmos_read
        mov     [CALLER_DH], al
        mov     al, CMOS_B
        call    cmos_read
        and     al, CMOS_B_DSE
        mov     [CALLER_DL], al
        jmp     return_carry_clear

time_date:
        call    clock_settle
        jc      return_carry_set
        mov     al, CMOS_CENTURY
        call    cmos_read
        mov     [CALLER_CH], al
        mov     al, CMOS_YEAR
        call    cmos_read
        mov     [CALLER_CL], al
        mov     al, CMOS_MONTH
        call    cmos_read
        mov     [CALLER_DH], al
        mov     al, CMOS_DATE
        call    cmos_read
        mov     [CALLER_DL], al
        jmp     return_carry_clear

; While SET is 1 no update comes in between.
time_set_clock:
        call    clock_settle
        jc      return_carry_set
        and     dl, CMOS_B_DSE
        mov     bl, dl
        call    clock_stop
        mov     al, CMOS_HOURS
        mov     ah, ch
        call    cmos_write
        mov     al, CMOS_MINUTES
        mov     ah, cl
        call    cmos_write
        mov     al, CMOS_SECONDS
        mov     ah, dh
        call    cmos_write
        jmp     clock_start

time_set_date:
        call    clock_settle
        jc      return_carry_set
        mov     al, CMOS_B
        call    cmos_read
        and     al, CMOS_B_DSE
        mov     bl, al
        call    clock_stop
        mov     al, CMOS_CENTURY
        mov     ah, ch
        call    cmos_write
        mov     al, CMOS_YEAR
        mov     ah, cl
        call    cmos_write
        mov     al, CMOS_MONTH
        mov     ah, dh
        call    cmos_write
        mov     al, CMOS_DATE
        mov     ah, dl
        call    cmos_write

; Let it go on, with DSE as in BL, in 24 hours and BCD.
clock_start:
        mov     ah, bl
        or      ah, CMOS_B_24
        mov     al, CMOS_B
        call    cmos_write
        jmp     return_carry_clear

clock_stop:
        mov     ax, (CMOS_B_SET | CMOS_B_24) << 8 | CMOS_B

; Byte AL of the CMOS RAM = AH.
cmos_write:
        out     CMOS_INDEX, al
        mov     al, ah
        out     CMOS_DATA, al
        ret
