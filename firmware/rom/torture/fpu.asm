; The x87 (SDM volume 1 chapter 8), MMX and SSE (chapters 9 to 11).

        CHAPTER "x87"

; FNSAVE stores what of FIP, FDP and the opcode is kept; that differs, so it is not logged.
%macro SHOW_FPU 0
        call    show_fpu
%endmacro

        jmp     fpu_tests

; Log control, status and tag words, and ST(0) to ST(2).
show_fpu:
        pushad
        fnsave  [FPU_IMAGE]
        SHOW_WORD " cw=", [FPU_IMAGE]
        SHOW_WORD " sw=", [FPU_IMAGE + 4]
        SHOW_WORD " tw=", [FPU_IMAGE + 8]
        mov     esi, FPU_IMAGE + 28
        mov     ecx, 3
.next:  SHOW_WORD " ", [esi + 8]
        SHOW    ":", [esi + 4]
        SHOW    "", [esi]
        add     esi, 10
        loop    .next
        frstor  [FPU_IMAGE]
        popad
        ret

        [section .tables]
number_3:       dd      3.0
number_third:   dq      0.3333333333333333
number_big:     dt      1.0e4900
number_tiny:    dt      1.0e-4900
number_nan:     dd      7FA00000h       ; signalling
denormal:       dd      1
integer:        dd      -7
packed:         dt      -123456789012345678p
        __?SECT?__

fpu_tests:

%macro FPU 2-9                          ; title, instructions
        TEST    %1
        fninit
%rep %0 - 1
%rotate 1
        %1
%endrep
        CAUGHT
        SHOW_FPU
        fnclex
        END
%endmacro

        FPU     "FNINIT", fninit
        FPU     "constants", fldz, fld1, fldpi
        FPU     "more constants", fldl2e, fldl2t, fldlg2
        FPU     "FLDLN2", fldln2
        FPU     "1/3, nearest", fld1, {fdiv dword [number_3]}
        FPU     "a sum, a product", {fld dword [number_3]}, {fld st0}, fld1, {faddp st1}, {fmulp st1}
        FPU     "FILD, FIST", {fild dword [integer]}, {fist dword [scratch]}, {fild word [integer]}
        FPU     "FBLD and FBSTP", {fld tword [packed]}, {fbstp [BUFFER]}, {fbld [BUFFER]}
        FPU     "FXTRACT", {fld dword [number_3]}, fxtract
        FPU     "FSCALE", {fld dword [number_3]}, fld1, fscale
        FPU     "FPREM", {fld dword [number_3]}, fldpi, fprem
        FPU     "FPREM1", {fld dword [number_3]}, fldpi, fprem1
        FPU     "FRNDINT", fldpi, frndint
        FPU     "FSQRT", {fld dword [number_3]}, fsqrt
        FPU     "FABS, FCHS, FTST", fldpi, fchs, fabs, fchs, ftst
        FPU     "FXAM of a number", fldpi, fxam
        FPU     "FXAM of an empty register", fxam
        FPU     "FXAM of zero, negative", fldz, fchs, fxam
        FPU     "FXAM of a denormal", {fld dword [denormal]}, {fld tword [number_tiny]}, fxam
        FPU     "FCOM", fld1, fldpi, {fcom st1}
        FPU     "FUCOMPP", fld1, fldpi, fucompp
        FPU     "FXCH, FINCSTP, FFREE", fld1, fldpi, fxch, fincstp, {ffree st2}
        FPU     "the stack overflows, masked", fld1, fld1, fld1, fld1, fld1, fld1, fld1, fld1
        FPU     "ninth", fincstp, fld1, {fld st0}, fdecstp, fld1
        FPU     "the stack underflows, masked", faddp
        FPU     "0/0, masked", fldz, fldz, fdivp
        FPU     "1/0, masked", fld1, fldz, fdivp
        FPU     "overflow, masked", {fld tword [number_big]}, {fmul st0, st0}
        FPU     "underflow, masked", {fld tword [number_tiny]}, {fmul st0, st0}
        FPU     "a signalling NaN, masked", {fld dword [number_nan]}
        FPU     "the root of -1, masked", fld1, fchs, fsqrt
        FPU     "a double that overflows as it is stored", {fld tword [number_big]}, {fstp qword [scratch]}, {fld qword [scratch]}
        FPU     "an integer that is too big", {fld tword [number_big]}, {fistp dword [scratch]}, {fild dword [scratch]}

; Rounding and precision: the control word decides.
%macro ROUNDS 2
        TEST    %1
        fninit
        mov     word [scratch], %2
        fldcw   [scratch]
        fld1
        fdiv    dword [number_3]
        fld     qword [number_third]
        fchs
        frndint
        fldpi
        fchs
        fistp   dword [scratch]
        SHOW    " ", [scratch]
        SHOW_FPU
        END
%endmacro
        ROUNDS  "64 bits, to nearest", 037Fh
        ROUNDS  "64 bits, down", 077Fh
        ROUNDS  "64 bits, up", 0B7Fh
        ROUNDS  "64 bits, to zero", 0F7Fh
        ROUNDS  "53 bits", 027Fh
        ROUNDS  "24 bits", 007Fh
        ROUNDS  "24 bits, up", 087Fh

; Exceptions that are not masked: #MF comes before the next waiting instruction.
%macro UNMASKED 3-6                     ; title, mask bit to clear, instructions
        TEST    %1
        fninit
        mov     word [scratch], 037Fh & ~(%2)
        fldcw   [scratch]
%rep %0 - 2
%rotate 1
        %2
%endrep
        nop
        fnop
        fwait
        CAUGHT
        SHOW_FPU
        fnclex
        END
%endmacro
        UNMASKED "#MF: invalid operation", 1, fldz, fldz, fdivp
        UNMASKED "#MF: a division by zero", 4, fld1, fldz, fdivp
        UNMASKED "#MF: overflow", 8, {fld tword [number_big]}, {fmul st0, st0}
        UNMASKED "#MF: underflow", 10h, {fld tword [number_tiny]}, {fmul st0, st0}
        UNMASKED "#MF: precision", 20h, fld1, {fdiv dword [number_3]}
        UNMASKED "#MF: a denormal operand", 2, {fld dword [denormal]}
        UNMASKED "#MF: the stack", 1, faddp
        TEST    "#MF waits; FNCLEX and FNSTSW do not"
        fninit
        mov     word [scratch], 037Bh
        fldcw   [scratch]
        fld1
        fldz
        fdivp
        fnstsw  ax
        fnclex
        mov     bx, ax
        fnstsw  ax
        fwait
        SHOW_WORD " ", bx
        SHOW_WORD " ", ax
        END
        TEST    "#MF at FLDCW that unmasks"
        fninit
        fld1
        fldz
        fdivp
        mov     word [scratch], 037Bh
        fldcw   [scratch]
        fnstsw  ax
        SHOW_WORD " sw=", ax
        fld1
        CAUGHT
        fnclex
        END
        TEST    "FNSTENV and FLDENV"
        fninit
        fld1
        fnstenv [FPU_IMAGE]
        SHOW_WORD " ", [FPU_IMAGE]
        SHOW_WORD " ", [FPU_IMAGE + 4]
        SHOW_WORD " ", [FPU_IMAGE + 8]
        mov     word [FPU_IMAGE + 4], 3800h | 4700h
        mov     word [FPU_IMAGE + 8], 1234h
        fldenv  [FPU_IMAGE]
        SHOW_FPU
        END
        TEST    "FNSAVE of 16 bits"
        fninit
        fldpi
        db      66h
        fnsave  [FPU_IMAGE]
        SHOW_WORD " ", [FPU_IMAGE]
        SHOW_WORD " ", [FPU_IMAGE + 2]
        SHOW_WORD " ", [FPU_IMAGE + 4]
        SHOW    " ", [FPU_IMAGE + 14 + 4]
        END
        TEST    "FNSAVE initialises"
        fldpi
        fnsave  [FPU_IMAGE]
        SHOW_FPU
        END
        TEST    "FXSAVE and FXRSTOR"
        mov     eax, CR4_OSFXSR
        mov     cr4, eax
        fninit
        fldpi
        fld1
        fxsave  [FPU_IMAGE]
        SHOW    " ", [FPU_IMAGE]
        SHOW_BYTE " tags=", [FPU_IMAGE + 4]
        SHOW    " mxcsr=", [FPU_IMAGE + 24]
        SHOW    " st1=", [FPU_IMAGE + 48 + 4]
        fninit
        fxrstor [FPU_IMAGE]
        SHOW_FPU
        END
        TEST    "FXSAVE that is not aligned"
        mov     eax, CR4_OSFXSR
        mov     cr4, eax
        fxsave  [FPU_IMAGE + 8]
        END
        TEST    "FCMOV, FCOMI"
        fninit
        fld1
        fldpi
        fcomi   st1
        fcmovnb st1
        pushfd
        pop     eax
        and     eax, ZF | PF | CF
        SHOW    " ", eax
        SHOW_FPU
        END
        TEST    "FLD of memory that is not present"
        PAGING
        fninit
        fld     qword [FIRST + 5000h]
        CAUGHT
        SHOW_FPU
        END
        TEST    "FSIN, FCOS, FPTAN of 0; FPATAN, F2XM1, FYL2X of what is exact"
        fninit
        fldz
        fsin
        fldz
        fcos
        fldz
        fptan
        SHOW_FPU
        fninit
        fldz
        fld1
        fpatan
        fldz
        f2xm1
        fld1
        fld1
        fyl2x
        SHOW_FPU
        END

        CHAPTER "MMX and SSE"

        TEST    "MMX: a sum with saturation; the tags; EMMS"
        fninit
        mov     eax, 7FFF8000h
        movd    mm0, eax
        movd    mm1, eax
        paddsw  mm0, mm1
        movd    ebx, mm0
        fnstenv [FPU_IMAGE]
        SHOW    " ", ebx
        SHOW_WORD " tw=", [FPU_IMAGE + 8]
        emms
        fnstenv [FPU_IMAGE]
        SHOW_WORD " tw=", [FPU_IMAGE + 8]
        END
        TEST    "MMX with CR0.EM"
        mov     eax, cr0
        or      al, CR0_EM
        mov     cr0, eax
        paddb   mm0, mm1
        END
        TEST    "MMX with CR0.TS"
        mov     eax, cr0
        or      al, CR0_TS
        mov     cr0, eax
        paddb   mm0, mm1
        END
        TEST    "MMX with an x87 exception pending"
        fninit
        mov     word [scratch], 037Bh
        fldcw   [scratch]
        fld1
        fldz
        fdivp
        paddb   mm0, mm1
        CAUGHT
        fninit
        END
        TEST    "SSE without CR4.OSFXSR"
        xorps   xmm0, xmm0
        END

%macro SSE 2-8                          ; title, instructions
        TEST    %1
        mov     eax, CR4_OSFXSR | CR4_OSXMMEXCPT
        mov     cr4, eax
        mov     dword [scratch], 1F80h
        ldmxcsr [scratch]
        movups  xmm0, [vector_0]
        movups  xmm1, [vector_1]
%rep %0 - 1
%rotate 1
        %1
%endrep
        CAUGHT
        call    show_sse
        END
%endmacro

        jmp     sse_tests
show_sse:
        movups  [BUFFER], xmm0
        stmxcsr [BUFFER + 16]
        SHOW    " ", [BUFFER + 12]
        SHOW    ":", [BUFFER + 8]
        SHOW    ":", [BUFFER + 4]
        SHOW    ":", [BUFFER]
        SHOW    " mxcsr=", [BUFFER + 16]
        ret
        [section .tables]
        align   16, db 0
vector_0:       dd      1.0, 3.0, -2.5, 1.0e38
vector_1:       dd      3.0, 7.0, 0.5, 10.0
vector_2:       dd      0.0, 1.0, 1.0, 1.0
vector_nan:     dd      7FA00000h, 1, 0FF800000h, 7F800000h
        __?SECT?__
sse_tests:
        SSE     "ADDPS", {addps xmm0, xmm1}
        SSE     "MULPS, overflow masked", {mulps xmm0, xmm1}
        SSE     "DIVPS", {divps xmm0, xmm1}
        SSE     "DIVPS by zero, masked", {divps xmm0, [vector_2]}
        SSE     "SQRTPS of a negative number", {sqrtps xmm0, xmm0}
        SSE     "MINPS with NaNs", {minps xmm0, [vector_nan]}
        SSE     "CMPPS", {cmpps xmm0, xmm1, 1}
        SSE     "CVTPS2PI, CVTPI2PS", {cvtps2pi mm0, xmm0}, {cvtpi2ps xmm0, mm0}, emms
        SSE     "CVTTSS2SI of what is too big", {shufps xmm0, xmm0, 0FFh}, {cvttss2si ecx, xmm0}
        SSE     "SHUFPS, UNPCKHPS, MOVHLPS", {shufps xmm0, xmm1, 1Bh}, {unpckhps xmm1, xmm0}, {movhlps xmm0, xmm1}
        SSE     "an aligned load that is not aligned", {movaps xmm0, [vector_0 + 4]}
        SSE     "#XM: a division by zero", {mov dword [scratch], 1D80h}, {ldmxcsr [scratch]}, {divps xmm0, [vector_2]}
        SSE     "#XM: invalid operation", {mov dword [scratch], 1F00h}, {ldmxcsr [scratch]}, {sqrtps xmm0, xmm0}
        SSE     "#XM: precision", {mov dword [scratch], 0F80h}, {ldmxcsr [scratch]}, {divps xmm0, xmm1}
        SSE     "rounding up", {mov dword [scratch], 5F80h}, {ldmxcsr [scratch]}, {divps xmm0, xmm1}
        SSE     "rounding down", {mov dword [scratch], 3F80h}, {ldmxcsr [scratch]}, {divps xmm0, xmm1}
        SSE     "flush to zero", {mov dword [scratch], 9F80h}, {ldmxcsr [scratch]}, {mulps xmm0, [vector_nan]}
        SSE     "a reserved bit of MXCSR", {mov dword [scratch], 11F80h}, {ldmxcsr [scratch]}
        SSE     "COMISS", {comiss xmm0, xmm1}, {setb [scratch]}
        SSE     "MOVNTPS, SFENCE, PREFETCH", {movntps [BUFFER], xmm0}, sfence, {prefetchnta [0]}
        TEST    "#XM without CR4.OSXMMEXCPT is #UD"
        mov     eax, CR4_OSFXSR
        mov     cr4, eax
        mov     dword [scratch], 1D80h
        ldmxcsr [scratch]
        movups  xmm0, [vector_0]
        divps   xmm0, [vector_2]
        CAUGHT
        mov     eax, CR4_OSFXSR
        mov     cr4, eax
        mov     dword [scratch], 1F80h
        ldmxcsr [scratch]
        END
        TEST    "SSE with CR0.EM"
        mov     eax, CR4_OSFXSR
        mov     cr4, eax
        mov     eax, cr0
        or      al, CR0_EM
        mov     cr0, eax
        xorps   xmm0, xmm0
        END
        TEST    "SSE with CR0.TS"
        mov     eax, CR4_OSFXSR
        mov     cr4, eax
        mov     eax, cr0
        or      al, CR0_TS
        mov     cr0, eax
        xorps   xmm0, xmm0
        END

; Not here: CR0.NE = 0, where an error goes out by FERR# to IRQ 13.  QEMU 7.2 ends with a failed
; assertion ("qemu_mutex_iothread_locked") where a guest does that, so it cannot be the oracle.
