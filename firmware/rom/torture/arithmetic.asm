; What instructions compute, over many operands: a checksum of results and flags for each.  Flags that
; the manual leaves undefined are left out (SDM volume 1, appendix A).

        CHAPTER "arithmetic, checksums"

; Mix EAX into the sum.  Changes no other register, but flags.
%macro MIX 1
        push    eax
        mov     eax, %1
        call    mix
        pop     eax
%endmacro
        jmp     arithmetic_tests

mix:    push    ecx
        mov     ecx, [sum]
        rol     ecx, 7
        xor     ecx, eax
        imul    ecx, ecx, 9E3779B1h
        mov     [sum], ecx
        pop     ecx
        ret

        [section .tables]
        align   4, db 0
operands:       dd      0, 1, 2, 0Fh, 10h, 7Fh, 80h, 0FFh, 7FFFh, 8000h, 0FFFFh, 12345678h
                dd      7FFFFFFFh, 80000000h, 0DEADBEEFh, 0FFFFFFFFh
operands_end:
        __?SECT?__

; Every operand with every other, without and with CF: EAX and EBX, ECX as a count.
;       OVER    title, flags that count, instruction that leaves its results in EAX and EDX
%macro OVER 3-5
        TEST    %1
        mov     esi, operands
%%a:    mov     edi, operands
%%b:    mov     ebp, ALWAYS
%%c:    mov     eax, [esi]
        mov     ebx, [edi]
        mov     ecx, ebx
        mov     edx, eax
        push    ebp
        popfd
        %3
%if %0 > 3
        %4
%endif
%if %0 > 4
        %5
%endif
        pushfd
        MIX     eax
        MIX     edx
        pop     eax
        and     eax, %2
        MIX     eax
        xor     ebp, CF
        test    ebp, CF
        jnz     %%c
        add     edi, 4
        cmp     edi, operands_end
        jne     %%b
        add     esi, 4
        cmp     esi, operands_end
        jne     %%a
        SHOW    " ", [sum]
        END
%endmacro

ALL             equ     ARITHMETIC
NOT_AF          equ     ARITHMETIC & ~AF
arithmetic_tests:
        OVER    "ADD", ALL, {add eax, ebx}
        OVER    "ADC", ALL, {adc eax, ebx}
        OVER    "SUB", ALL, {sub eax, ebx}
        OVER    "SBB", ALL, {sbb eax, ebx}
        OVER    "CMP", ALL, {cmp eax, ebx}
        OVER    "ADD of 16 and 8 bits", ALL, {add ax, bx}, {adc dl, bl}
        OVER    "SBB of 16 and 8 bits", ALL, {sbb ax, bx}, {sbb dh, bl}
        OVER    "INC, DEC, NEG", ALL, {inc eax}, {dec dx}, {neg edx}
        OVER    "AND, OR, XOR, NOT", NOT_AF, {and eax, ebx}, {not eax}, {xor dx, bx}
        OVER    "TEST", NOT_AF, {test eax, ebx}
        OVER    "SHL", ALL & ~(AF | OF), {shl eax, cl}
        OVER    "SHR", ALL & ~(AF | OF), {shr eax, cl}
        OVER    "SAR", ALL & ~(AF | OF), {sar eax, cl}
        OVER    "SHL by 1", NOT_AF, {shl eax, 1}
        OVER    "SAR by 1", NOT_AF, {sar ax, 1}
        OVER    "SHR by 1", NOT_AF, {shr al, 1}
        OVER    "ROL", ALL & ~OF, {rol eax, cl}
        OVER    "ROR of 16 bits", ALL & ~OF, {ror ax, cl}
        OVER    "RCL", ALL & ~OF, {rcl eax, cl}
        OVER    "RCR of 16 bits", ALL & ~OF, {rcr ax, cl}
        OVER    "RCL of 8 bits", ALL & ~OF, {rcl al, cl}
        OVER    "ROL, RCR by 1", ALL, {rol eax, 1}, {rcr edx, 1}
        OVER    "SHLD", ALL & ~(AF | OF), {shld eax, ebx, cl}
        OVER    "SHRD", ALL & ~(AF | OF), {shrd eax, ebx, cl}
        OVER    "MUL", CF | OF, {mul ebx}
        OVER    "IMUL", CF | OF, {imul ebx}
        OVER    "MUL and IMUL of 8 and 16 bits", CF | OF, {mul bl}, {imul bx}
        OVER    "IMUL of two operands", CF | OF, {imul eax, ebx}
        OVER    "IMUL by a constant", CF | OF, {imul ax, bx, -37}, {imul edx, ebx, 12345h}
        OVER    "DIV by an odd number", 0, {mov edx, 0}, {or ebx, 1}, {div ebx}
        OVER    "IDIV by an odd number", 0, {cdq}, {and ebx, 0FFFFh}, {call divide}
        OVER    "DAA", ALL & ~OF, {daa}
        OVER    "DAS", ALL & ~OF, {das}
        OVER    "AAA", AF | CF, {aaa}
        OVER    "AAS", AF | CF, {aas}
        OVER    "AAM", SF | ZF | PF, {aam}
        OVER    "AAD", SF | ZF | PF, {aad}
        OVER    "AAM 7, AAD 9", SF | ZF | PF, {aam 7}, {aad 9}
        OVER    "BSF and BSR", ZF, {bsf eax, ebx}, {bsr edx, ebx}
        OVER    "BT, BTS, BTR", CF, {bts eax, ebx}, {btr edx, ecx}, {bt eax, 5}
        OVER    "BTC in memory, far from its base", CF, {call bit_in_memory}
        OVER    "BSWAP, CBW, CWDE", ALL, {bswap eax}, {xchg eax, edx}, {cwde}
        OVER    "MOVSX and MOVZX", ALL, {movsx eax, bl}, {movzx edx, bx}
        OVER    "CMPXCHG", ALL, {cmpxchg edx, ecx}
        OVER    "XADD", ALL, {xadd eax, edx}
        OVER    "CMPXCHG8B", ZF, {call exchange_8}
        OVER    "CMOV and SETcc", ALL, {cmp eax, ebx}, {cmovg eax, ecx}, {setbe dl}
        OVER    "LAHF and SAHF", ALL, {add eax, ebx}, {lahf}, {sahf}
        OVER    "LEA", ALL, {lea eax, [eax + ebx * 4 + 1234h]}, {lea dx, [edx + ecx]}
        OVER    "XLAT", ALL, {call translate}
        OVER    "LOOP, JECXZ", ALL, {call loops}

        TEST    "every condition, over all flags"
        xor     ebx, ebx
.flags: mov     edx, ebx
        and     edx, CF | PF | AF | ZF | SF
        test    ebx, 2
        jz      .no_of
        or      edx, OF
.no_of: xor     ecx, ecx
%macro CONDITION 1
        push    edx
        popfd
        set%1   cl
        rol     ecx, 1
%endmacro
        CONDITION o
        CONDITION b
        CONDITION z
        CONDITION be
        CONDITION s
        CONDITION p
        CONDITION l
        CONDITION le
        CONDITION no
        CONDITION ae
        CONDITION nz
        CONDITION a
        CONDITION ns
        CONDITION np
        CONDITION ge
        CONDITION g
        MIX     ecx
        inc     bl
        jnz     .flags
        SHOW    " ", [sum]
        END
        TEST    "string instructions, up and down, of all widths"
        mov     edi, BUFFER
        mov     ecx, 100h
        mov     eax, 1
.fill:  imul    eax, eax, 69069
        inc     eax
        stosd
        loop    .fill
        mov     esi, BUFFER + 3
        mov     edi, BUFFER + 200h
        mov     ecx, 37
        rep     movsb
        mov     ecx, 11
        rep     movsw
        std
        mov     ecx, 9
        rep     movsd
        mov     ecx, 5
        rep     stosw
        cld
        mov     esi, BUFFER
        mov     edi, BUFFER + 1
        mov     ecx, 20
        rep     movsb                   ; overlapping: a pattern
        mov     edi, BUFFER
        mov     al, [BUFFER + 40]
        mov     ecx, 100
        repne   scasb
        MIX     ecx
        mov     esi, BUFFER
        mov     edi, BUFFER + 1
        mov     ecx, 100
        repe    cmpsb
        MIX     ecx
        lodsw
        MIX     eax
        mov     esi, BUFFER
        mov     ecx, 100h
.sum:   lodsd
        MIX     eax
        loop    .sum
        SHOW    " ", [sum]
        SHOW    " ", esi
        SHOW    " ", edi
        END
        TEST    "string instructions of 16-bit addresses wrap and keep upper halves"
        mov     esi, 0ABCDFFFCh
        mov     edi, 12340F00h
        mov     ecx, 56780003h
        mov     dword [0FFFCh], 0DDCCBBAAh
        a16 rep movsb
        SHOW    " ", esi
        SHOW    " ", edi
        SHOW    " ", ecx
        END
        TEST    "LOOP with a 16-bit counter"
        mov     ecx, 12340002h
        xor     eax, eax
.loop_16:
        inc     eax
        a16 loop .loop_16
        SHOW    " ", eax
        SHOW    " ", ecx
        END
        TEST    "addresses of 16 bits in 32-bit code"
        mov     ebx, 0FFFF0F00h
        mov     esi, 0FFFF0010h
        mov     dword [0F18h], 18181818h
        a16 mov eax, [bx + si + 8]
        SHOW    " ", eax
        END
        TEST    "OUTSB and INSB"
        mov     esi, .dots
        mov     edx, DEBUG_PRESENT
        mov     ecx, 3
        rep     outsb
        mov     edi, BUFFER
        mov     ecx, 2
        rep     insb
        SHOW_WORD " ", [BUFFER]
        jmp     .dots_end
.dots:  db      " ok"
.dots_end:
        END

        jmp     decoding_tests

; For the tests above: what takes more than an instruction.
divide: cmp     ebx, 0
        jne     .divide
        inc     ebx
.divide:
        idiv    ebx
        ret
bit_in_memory:
        push    ebx
        and     ebx, 0FFFh
        mov     [BUFFER], eax
        btc     [BUFFER], ebx
        mov     eax, [BUFFER]
        pop     ebx
        pushfd
        pop     edx
        and     edx, CF
        ret
exchange_8:
        mov     dword [BUFFER], 7FFFh
        mov     dword [BUFFER + 4], 0FFFFh
        push    ebx
        push    ecx
        mov     edx, ebx
        lock cmpxchg8b [BUFFER]
        pop     ecx
        pop     ebx
        ret
translate:
        pushfd
        mov     ebx, operands
        and     al, 3Fh
        xlatb
        popfd
        ret
loops:  pushfd
        and     ecx, 7
        xor     eax, eax
        jecxz   .none
.next:  inc     eax
        loop    .next
.none:  popfd
        ret

        CHAPTER "decoding"

%macro CODE 2+                          ; title, bytes
        TEST    %1
        mov     dword [scratch], 0
        mov     ebx, scratch
        db      %2
        END
%endmacro

decoding_tests:
        CODE    "UD2", 0Fh, 0Bh
        CODE    "0F FF", 0Fh, 0FFh, 0C0h
        CODE    "0F B9", 0Fh, 0B9h, 0C0h
        CODE    "0F 04", 0Fh, 04h
        CODE    "0F 0A", 0Fh, 0Ah
        CODE    "0F 24, MOV TR", 0Fh, 24h, 0C0h
        CODE    "0F 36", 0Fh, 36h
        CODE    "FE /2", 0FEh, 0D0h
        CODE    "FF /7", 0FFh, 0F8h
        CODE    "8F /1", 8Fh, 0C8h
        CODE    "C6 /1", 0C6h, 0C8h, 0
        CODE    "C7 /7", 0C7h, 0F8h, 0, 0, 0, 0
        CODE    "8D with a register", 8Dh, 0C0h
        CODE    "LES with a register, a VEX prefix to others", 0C4h, 0E1h, 78h, 77h
        CODE    "LDS with a register, a VEX prefix to others", 0C5h, 0F8h, 77h
        CODE    "BOUND with a register", 62h, 0C0h
        CODE    "LGDT with a register", 0Fh, 01h, 0D0h
        CODE    "INVLPG with a register", 0Fh, 01h, 0F8h
        CODE    "0F 00 /6", 0Fh, 00h, 0F0h
        CODE    "0F BA /0", 0Fh, 0BAh, 0C0h, 0
        CODE    "CMPXCHG8B with a register", 0Fh, 0C7h, 0C8h
        CODE    "JMP FAR with a register", 0FFh, 0E8h
        CODE    "CALL FAR with a register", 0FFh, 0D8h
        CODE    "LOCK NOP", 0F0h, 90h
        CODE    "LOCK ADD to a register", 0F0h, 01h, 0C0h
        CODE    "LOCK ADD to memory", 0F0h, 01h, 03h
        CODE    "LOCK CMP", 0F0h, 39h, 03h
        CODE    "LOCK BT", 0F0h, 0Fh, 0A3h, 03h
        CODE    "LOCK BTS", 0F0h, 0Fh, 0ABh, 03h
        CODE    "LOCK XCHG", 0F0h, 87h, 03h
        CODE    "LOCK MOVSB", 0F0h, 0A4h
        CODE    "LOCK JMP", 0F0h, 0EBh, 0
        CODE    "MOV CS", 8Eh, 0C8h
        CODE    "D6, SALC", 0D6h
        CODE    "F1, INT1", 0F1h
        CODE    "82 /0, ADD", 82h, 0C0h, 1
        CODE    "D0 /6, SHL", 0D0h, 0F0h
        CODE    "F6 /1, TEST", 0F6h, 0C8h, 1
        CODE    "DF E1, no x87", 0DFh, 0E1h
        CODE    "D9 D1, no x87", 0D9h, 0D1h
        CODE    "DB E0, FENI", 0DBh, 0E0h
        CODE    "DB E4, FSETPM", 0DBh, 0E4h
        CODE    "0F 05, SYSCALL", 0Fh, 05h
        CODE    "0F AE /7 SFENCE", 0Fh, 0AEh, 0F8h
        CODE    "0F AE /5 LFENCE, of SSE2", 0Fh, 0AEh, 0E8h
        CODE    "66 0F 58, ADDPD, of SSE2", 66h, 0Fh, 58h, 0C0h
        CODE    "F2 0F D0, ADDSUBPS, of SSE3", 0F2h, 0Fh, 0D0h, 0C0h
        CODE    "0F 38 00, PSHUFB, of SSSE3", 0Fh, 38h, 00h, 0C0h
        CODE    "F3 0F B8, POPCNT", 0F3h, 0Fh, 0B8h, 0C0h
        CODE    "0F 0D, PREFETCH of 3DNow!", 0Fh, 0Dh, 03h
        CODE    "0F 0F, 3DNow!", 0Fh, 0Fh, 0C0h, 9Eh
        CODE    "0F 01 C8, MONITOR", 0Fh, 01h, 0C8h
        CODE    "0F 01 D0, XGETBV", 0Fh, 01h, 0D0h
        CODE    "0F 01 D9, VMMCALL", 0Fh, 01h, 0D9h
        CODE    "0F 01 F9, RDTSCP", 0Fh, 01h, 0F9h
        CODE    "0F C7 /6, RDRAND", 0Fh, 0C7h, 0F0h
        CODE    "0F 1F, NOP", 0Fh, 1Fh, 03h
        CODE    "F3 90, PAUSE", 0F3h, 90h
        CODE    "15 bytes", 2Eh, 2Eh, 2Eh, 2Eh, 2Eh, 2Eh, 2Eh, 2Eh, 2Eh, 2Eh, 2Eh, 2Eh, 2Eh, 2Eh, 90h
        CODE    "16 bytes", 2Eh, 2Eh, 2Eh, 2Eh, 2Eh, 2Eh, 2Eh, 2Eh, 2Eh, 2Eh, 2Eh, 2Eh, 2Eh, 2Eh, 2Eh, 90h
        TEST    "16 bytes, 15 of them on a page and nothing behind"
        PAGING
        mov     dword [ENTRY + 4], 0
        mov     edi, FRAME_1 + 1000h - 15
        mov     ecx, 15
        mov     al, 2Eh
        rep     stosb
        mov     dword [test_base], FIRST
        jmp     FIRST + 1000h - 15
        END
