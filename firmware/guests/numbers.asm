; numbers: what the x87 and SSE compute, and what they do when they cannot.
;
; The x87 has eight registers of 80 bits, a stack; SSE has eight of 128, each four numbers of 32 bits
; that are computed side by side.  A result that is none sets a flag; with the flag's mask on it is
; replaced (1 / 0 is infinity), with the mask off the instruction faults: #MF, one x87 instruction
; later, or #XM, at once.
;
; FBSTP does the printing: it stores a number as 18 decimal digits.
;
;       7C00    this program; the stack grows down from here
;       0600    IDT
;
; Sources: Intel SDM volume 1, "Programming with the x87 FPU" and "Programming with SSE"; volume 3,
; 2.5 (control registers), 13.1 (what a kernel has to switch on).

        cpu     katmai
        bits    16
        org     7C00h
%include "pc.inc"
%include "protected.inc"

IDT             equ     0600h

CR0_MP          equ     1 << 1          ; WAIT heeds TS
CR0_EM          equ     1 << 2          ; there is no x87
CR0_NE          equ     1 << 5          ; errors of the x87 are #MF and no IRQ 13
CR4_OSFXSR      equ     1 << 9          ; FXSAVE saves SSE's registers too, so SSE may be used
CR4_OSXMMEXCPT  equ     1 << 10         ; and its errors are #XM

CONTROL_DEFAULT equ     037Fh           ; x87: all masked, 64 bits, to nearest
CONTROL_ZM      equ     1 << 2          ; division by zero masked
STATUS_ZE       equ     1 << 2          ; there has been one
MXCSR_DEFAULT   equ     1F80h           ; SSE: all masked, to nearest
MXCSR_IM        equ     1 << 7          ; invalid operation masked
MXCSR_IE        equ     1 << 0          ; there has been one

start:  cli
        xor     ax, ax
        mov     ds, ax
        ENTER_PROTECTED_MODE
        mov     eax, cr0
        and     eax, ~CR0_EM
        or      eax, CR0_MP | CR0_NE
        mov     cr0, eax
        mov     eax, cr4
        or      eax, CR4_OSFXSR | CR4_OSXMMEXCPT
        mov     cr4, eax
        fninit

; ==== The x87 ====

; Pi it knows; the square root it computes; e is the sum of 1 / n!.

        mov     esi, text_pi
        fldpi
        call    print_number
        mov     esi, text_root
        fld1
        fadd    st0, st0
        fsqrt
        call    print_number
        mov     esi, text_e
        fld1                            ; the sum,
        fld1                            ; 1 / n!,
        fld1                            ; n
        mov     ecx, 20
.term:  fdiv    st1, st0
        fxch    st1
        fadd    st2, st0
        fxch    st1
        fld1
        faddp   st1, st0
        loop    .term
        fstp    st0
        fstp    st0
        call    print_number

; The sine of 30 degrees, and its arc's tangent: angles are in radians.

        mov     esi, text_sine
        fldpi
        fidiv   dword [six]
        fsin
        call    print_number

; 1 / 0 with the mask on.

        fld1
        fldz
        fdivp   st1, st0
        fstp    dword [single]
        mov     esi, text_infinity
        mov     eax, [single]
        call    print_bits
        fnstsw  ax
        and     eax, STATUS_ZE
        mov     esi, text_flag
        call    print_labelled
        call    print_line

; And with it off: the next instruction that waits for the x87 faults.

        fnclex
        mov     word [control], CONTROL_DEFAULT & ~CONTROL_ZM
        fldcw   [control]
        fld1
        fldz
        fdivp   st1, st0
.here:  fwait                           ; #MF
        fninit

; ==== SSE ====

; Four products at once, then their sum.

        movups  xmm0, [four_to_seven]
        mulps   xmm0, [one_to_four]
        movaps  xmm1, xmm0
        movhlps xmm1, xmm0
        addps   xmm0, xmm1
        movaps  xmm1, xmm0
        shufps  xmm1, xmm1, 1
        addss   xmm0, xmm1
        cvttss2si eax, xmm0
        mov     esi, text_dot
        call    print_labelled
        call    print_line

; Four square roots at once, shown by their bits; that of -1 is not a number.

        movaps  xmm2, [squares]
        sqrtps  xmm3, xmm2
        movaps  [result], xmm3
        mov     esi, text_roots
        call    print_string
        mov     ebx, result
.root:  mov     eax, [ebx]
        call    print_hex
        mov     al, ' '
        call    print_character
        add     ebx, 4
        cmp     ebx, result + 16
        jb      .root
        stmxcsr [control]
        mov     eax, [control]
        and     eax, MXCSR_IE
        mov     esi, text_flag
        call    print_labelled
        call    print_line

; The same with the mask off: #XM, and XMM3 is as it was.

        mov     dword [control], MXCSR_DEFAULT & ~MXCSR_IM
        ldmxcsr [control]
        xorps   xmm3, xmm3
        mov     dword [recover], .caught
        sqrtps  xmm3, xmm2              ; #XM
.caught:
        movmskps eax, xmm3
        mov     esi, text_kept
        call    print_labelled
        call    print_line

; ==== What a kernel does between two tasks ====

        fninit
        fldpi
        movaps  xmm0, [one_to_four]
        fxsave  [area]
        fninit
        fldz
        xorps   xmm0, xmm0
        fxrstor [area]
        mov     esi, text_restored
        call    print_number
        movaps  [result], xmm0
        mov     eax, [result + 12]
        mov     esi, text_fourth
        call    print_bits
        call    print_line
        jmp     serial_drain_and_end

; ==== Faults ====

; The x87's error is that of the division, not of the instruction that has met it; the status word
; says which error, and the x87 itself where it was.
on_numeric_error:
        push    eax
        push    esi
        fnstenv [environment]
        mov     esi, text_mf
        mov     eax, [environment + 12] ; the division's address
        sub     eax, [esp + 8]          ; EIP, of the FWAIT
        neg     eax
        call    print_labelled
        mov     esi, text_status
        movzx   eax, word [environment + 4]
        and     eax, STATUS_ZE
        call    print_labelled
        call    print_line
        fnclex
        pop     esi
        pop     eax
        iretd

on_simd_error:
        push    eax
        push    esi
        mov     esi, text_xm
        call    print_string
        mov     eax, [recover]
        mov     [esp + 8], eax
        pop     esi
        pop     eax
        iretd

; ==== Printing ====

; Print the string at ESI, then ST0, which is positive and less than 10, with 17 decimals; and pop it.
print_number:
        call    print_string
        fmul    qword [ten_to_17]
        fbstp   [digits]                ; two digits a byte, the lowest first; then the sign
        mov     edi, digits + 8
        mov     al, [edi]
        shr     al, 4
        call    print_digit
        mov     al, '.'
        call    print_character
        mov     al, [edi]
.low:   call    print_digit
        dec     edi
        cmp     edi, digits
        jb      print_line
        mov     al, [edi]
        shr     al, 4
        call    print_digit
        mov     al, [edi]
        jmp     .low

; Print the low four bits of AL, a decimal digit.
print_digit:
        and     al, 0Fh
        add     al, '0'
        jmp     print_character

; Print the string at ESI, then EAX in hexadecimal.
print_bits:
        call    print_string
        jmp     print_hex

print_line:
        mov     esi, text_new_line
        jmp     print_string

print_character equ     serial_put

%include "kernel.inc"
%include "serial.inc"
%include "print.inc"
%include "hex.inc"

; ---- Data ----

        align   16, db 0
one_to_four:    dd      1.0, 2.0, 3.0, 4.0
squares:        dd      4.0, 2.0, 1.0, -1.0
result:         times   4 dd 0
area:           times   512 db 0        ; FXSAVE's
four_to_seven:  dd      4.0, 5.0, 6.0, 7.0
ten_to_17:      dq      1.0e17
six:            dd      6
environment:    times   7 dd 0          ; FNSTENV's
single:         dd      0
control:        dd      0
recover:        dd      0
digits:         times   10 db 0

        align   4, db 0
gates:  GATE    NUMERIC_ERROR, on_numeric_error, INTERRUPT_GATE
        GATE    SIMD_ERROR, on_simd_error, INTERRUPT_GATE
.end:

text_pi:        db      "pi       ", 0
text_root:      db      "sqrt 2   ", 0
text_e:         db      "e        ", 0
text_sine:      db      "sin pi/6 ", 0
text_infinity:  db      "1 / 0 is infinity: ", 0
text_flag:      db      "; its flag: ", 0
text_mf:        db      "#MF: bytes from the division to who has met the error: ", 0
text_status:    db      "; ZE in the status word: ", 0
text_dot:       db      "1*4 + 2*5 + 3*6 + 4*7 = ", 0
text_roots:     db      "square roots of 4, 2, 1, -1: ", 0
text_xm:        db      "#XM; ", 0
text_kept:      db      "signs of what was there: ", 0
text_restored:  db      "pi again ", 0
text_fourth:    db      "and 4 in XMM0: ", 0
text_new_line:  db      CR, LF, 0
