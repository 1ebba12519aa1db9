; primes: counts the primes below 200,000 in 32-bit protected mode.
;
; A small kernel: GDT, IDT, the 8259s moved out of the exceptions' way, a timer at 100 Hz, a system
; call (INT 30h prints AL) and handlers of exceptions with and without an error code, each of which
; it provokes once.  What it prints does not depend on time.
;
;       7C00    this program; the stack grows down from here
;       0600    IDT, 49 gates
;       10000   sieve, a byte a number: 1 = has a divisor
;
; Sources: Intel 80386 Programmer's Reference Manual, sections 6.3 (descriptors), 9.4-9.10
; (interrupt gates, exceptions and their error codes), 10.3 (switching to protected mode).

        cpu     486
        bits    16
        org     7C00h
%include "pc.inc"
%include "protected.inc"

LIMIT           equ     200000
SIEVE           equ     10000h
IDT             equ     0600h
OUTSIDE         equ     gdt.end - gdt   ; the first selector that the GDT does not hold
PRINT_VECTOR    equ     30h             ; the system call

TICKS_HZ        equ     100
TICKS_COUNT     equ     (PIT_HZ + TICKS_HZ / 2) / TICKS_HZ

start:  cli
        xor     ax, ax
        mov     ds, ax
        ENTER_PROTECTED_MODE
        call    start_timer
        sti
        call    provoke_exceptions
        call    count_primes
        jmp     serial_drain_and_end

; ---- The tables, the interrupt controllers, the timer ----

%include "idt.inc"

%define COUNT_LOW       TICKS_COUNT & 0FFh      ; start_timer
%define COUNT_HIGH      TICKS_COUNT >> 8
%include "timer.inc"

; ---- Handlers ----

on_timer:
        push    eax
        inc     dword [ticks]
        mov     al, OCW2_EOI
        out     MASTER, al
        pop     eax
        iretd

; IRQ 7 without a cause: the 8259 answers so when a request is gone before it is acknowledged.
; Nothing is in service, so no EOI.
on_spurious:
        iretd

; The system call: print AL.
on_print:
        call    serial_put
        iretd

; A fault saves the address of the instruction that caused it, to be tried again once the cause
; is removed.  Ours are two bytes long each, and are to be passed over.
on_divide_error:
        inc     byte [divide_errors]
        add     dword [esp], 2
        iretd

on_invalid_opcode:
        inc     byte [invalid_opcodes]
        add     dword [esp], 2
        iretd

on_general_protection:
        inc     byte [general_protections]
        pop     dword [error_code]      ; IRET does not know of it: the handler takes it off
        add     dword [esp], 2
        iretd

; ---- The program ----

; Provoke #DE, #UD and #GP once each, and say how many were caught.
provoke_exceptions:
        xor     ecx, ecx
        div     ecx                     ; #DE
        ud2                             ; #UD
        mov     eax, OUTSIDE
        mov     fs, eax                 ; #GP: the error code is the selector
        mov     esi, text_divide_error
        movzx   eax, byte [divide_errors]
        call    print_labelled
        mov     esi, text_invalid_opcode
        movzx   eax, byte [invalid_opcodes]
        call    print_labelled
        mov     esi, text_general_protection
        movzx   eax, byte [general_protections]
        call    print_labelled
        mov     esi, text_error_code
        mov     eax, [error_code]
        call    print_labelled
        mov     esi, text_new_line
        jmp     print_string

; Print the string at ESI, then EAX in decimal.
print_labelled:
        push    eax
        call    print_string
        pop     eax
        jmp     print_decimal

; The sieve of Eratosthenes: a number that no smaller prime has struck out is a prime, and
; strikes out its own multiples.  EDI = the number, EBP = primes found.
count_primes:
        mov     edi, SIEVE
        mov     ecx, LIMIT / 4
        xor     eax, eax
        rep     stosd
        xor     ebp, ebp
        mov     edi, 2
.next:  cmp     byte [SIEVE + edi], 0
        jne     .composite
        inc     ebp
        mov     eax, edi
        mul     edi                     ; from its square on: smaller ones are struck out
        test    edx, edx
        jnz     .struck                 ; the square is beyond 32 bits
.strike:
        cmp     eax, LIMIT
        jae     .struck
        mov     byte [SIEVE + eax], 1
        add     eax, edi
        jmp     .strike
.struck:
        mov     eax, ebp
        xor     edx, edx
        mov     ecx, 1000
        div     ecx
        test    edx, edx
        jnz     .composite
        call    report
.composite:
        inc     edi
        cmp     edi, LIMIT
        jb      .next
        mov     eax, ebp
        call    print_decimal
        mov     esi, text_total
        call    print_string
        mov     eax, LIMIT
        call    print_decimal
        mov     esi, text_end
        jmp     print_string

; Print one line, then rest until the next tick, so that a run has idle moments too.
report:
        mov     eax, ebp
        call    print_decimal
        mov     esi, text_last
        mov     eax, edi
        call    print_labelled
        mov     esi, text_new_line
        call    print_string
        mov     eax, [ticks]
.rest:  cli
        cmp     eax, [ticks]
        jne     .rested
        sti                             ; takes effect one instruction later, so that no
        hlt                             ; tick can fall between the two
        jmp     .rest
.rested:
        sti
        ret

print_character:
        int     PRINT_VECTOR
        ret

%include "serial.inc"
%include "print.inc"

; ---- Data ----

%include "gdt.inc"

        align   4, db 0
gates:  GATE    DIVIDE_ERROR, on_divide_error, INTERRUPT_GATE
        GATE    INVALID_OPCODE, on_invalid_opcode, INTERRUPT_GATE
        GATE    GENERAL_PROTECTION, on_general_protection, INTERRUPT_GATE
        GATE    MASTER_VECTOR, on_timer, INTERRUPT_GATE
        GATE    SPURIOUS_VECTOR, on_spurious, INTERRUPT_GATE
        GATE    PRINT_VECTOR, on_print, TRAP_GATE       ; ticks go on while it prints
.end:

ticks:                  dd      0
error_code:             dd      0
divide_errors:          db      0
invalid_opcodes:        db      0
general_protections:    db      0

text_divide_error:      db      "caught: #DE ", 0
text_invalid_opcode:    db      ", #UD ", 0
text_general_protection: db     ", #GP ", 0
text_error_code:        db      " with error code ", 0
text_last:              db      " primes, the last is ", 0
text_total:             db      " primes below ", 0
text_end:               db      ". Done."
text_new_line:          db      CR, LF, 0
