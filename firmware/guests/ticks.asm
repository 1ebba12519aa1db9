; ticks: a boot sector that counts the timer's interrupts, 100 a second, for ever.
;
; It takes the 8254 and its interrupt from the ROM, prints through the ROM (INT 10h), and halts
; between two ticks: most of its time nothing runs at all.

        cpu     386
        bits    16
        org     7C00h
%include "pc.inc"

TICKS_HZ        equ     100
TICKS_COUNT     equ     (PIT_HZ + TICKS_HZ / 2) / TICKS_HZ      ; 11,932: 99.998 Hz

TIMER_VECTOR    equ     08h             ; where the ROM put IRQ 0

        jmp     0:start                 ; some BIOSes come here as 07C0:0000

start:  cli
        xor     ax, ax
        mov     ds, ax
        mov     ss, ax
        mov     sp, 7C00h
        cld
        mov     word [4 * TIMER_VECTOR], on_tick
        mov     word [4 * TIMER_VECTOR + 2], cs
        mov     al, PIT_MODE_2
        out     PIT_CONTROL, al
        mov     al, TICKS_COUNT & 0FFh
        out     PIT_COUNTER_0, al
        mov     al, TICKS_COUNT >> 8
        out     PIT_COUNTER_0, al
        mov     al, ~(1 << 0) & 0FFh    ; IRQ 0 and no other
        out     MASTER_DATA, al

main:   cli
        mov     eax, [printed]
        cmp     eax, [ticks]
        jne     .print
        sti                             ; STI lets one more instruction pass before it takes
        hlt                             ; effect, so no tick can fall between the two
        jmp     main
.print: sti
        inc     dword [printed]
        mov     si, tick
        call    print_string
        mov     eax, [printed]
        call    print_decimal
        mov     si, new_line
        call    print_string
        jmp     main

on_tick:
        push    ax
        inc     dword [cs:ticks]        ; DS is the ROM's while INT 10h runs
        mov     al, OCW2_EOI
        out     MASTER, al
        pop     ax
        iret

print_character:
        push    ax
        push    bx
        mov     ah, 0Eh                 ; teletype
        xor     bx, bx                  ; on page 0
        int     10h
        pop     bx
        pop     ax
        ret

%include "print.inc"

tick:           db      "tick ", 0
new_line:       db      CR, LF, 0

ticks:          dd      0               ; interrupts counted
printed:        dd      0               ; and how many of them have been printed

        times   510 - ($ - $$) db 0
        dw      0AA55h
