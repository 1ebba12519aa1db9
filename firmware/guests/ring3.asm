; ring3: a program that the kernel does not trust.
;
; It runs in ring 3, in two pages of its own, and may do nothing but compute.  What it wants from
; outside it asks the kernel for, by a system call: by INT 30h, through a gate that lets ring 3 in;
; or by SYSENTER, which takes the way in from three MSRs, where the processor has it.  Then it tries
; what it may not; each time the kernel says what has happened, and passes the instruction over.
;
;       ring 3                          ring 0
;
;       INT 30h   ----- gate, DPL 3 ---> on_call     SS ESP EFLAGS CS EIP on the stack that the TSS
;                 <---- IRET ----------              names
;       SYSENTER  ----- MSRs ----------> on_sysenter nothing on the stack: the caller leaves in ECX
;                 <---- SYSEXIT -------              and EDX the ESP and EIP to come back to
;
; A call has its number in EAX: 0 ends the program with status EBX, 1 prints the string at ESI.
;
;       0600    IDT
;       7C00    this program; the kernel's stack grows down from here
;       10000   page directory and table
;       20000   the program's page, and its stack's
;
; Sources: Intel 80386 Programmer's Reference Manual, sections 6.3 (privilege), 6.4 (page-level
; protection), 7.1 (TSS), 8.3 (I/O permission); Intel SDM volume 2, SYSENTER and SYSEXIT.

        cpu     686
        bits    16
        org     7C00h
%include "pc.inc"
%include "protected.inc"

IDT             equ     0600h
DIRECTORY       equ     10000h
TABLE           equ     11000h
USER            equ     20000h          ; the program
USER_STACK      equ     22000h          ; where its stack begins, growing down
PAGE            equ     1000h
PAGES           equ     256             ; 1 MiB, mapped where it is

USER_CODE       equ     (gdt.user_code - gdt) | 3       ; with the ring that asks for it
USER_DATA       equ     (gdt.user_data - gdt) | 3
TASK            equ     gdt.task - gdt
CALL_VECTOR     equ     30h
TSS_BYTES       equ     104

CALL_EXIT       equ     0
CALL_PRINT      equ     1

PRESENT         equ     1 << 0
WRITABLE        equ     1 << 1
FOR_USER        equ     1 << 2
CR0_PG          equ     1 << 31

CPUID_SEP       equ     1 << 11         ; leaf 1, EDX
EFLAGS_ID       equ     1 << 21         ; can be changed where there is CPUID
SYSENTER_CS     equ     174h            ; MSRs
SYSENTER_ESP    equ     175h
SYSENTER_EIP    equ     176h

; SYSENTER wants four descriptors in this order, flat: code and data of ring 0, code and data of
; ring 3.
%macro MORE_DESCRIPTORS 0
.user_code:
        dq      00CFFA000000FFFFh
.user_data:
        dq      00CFF2000000FFFFh
.task:  dw      TSS_BYTES - 1, tss      ; a TSS of 32 bits, available; it is below 64 KiB
        db      0, 89h, 0, 0
%endmacro

start:  cli
        xor     ax, ax
        mov     ds, ax
        mov     al, 0FFh                ; no IRQs: they would still be where the ROM put them
        out     MASTER_DATA, al
        ENTER_PROTECTED_MODE

; All the memory is the kernel's but two pages.

        mov     edi, DIRECTORY
        mov     ecx, 2 * PAGE / 4
        xor     eax, eax
        rep     stosd
        mov     dword [DIRECTORY], TABLE | FOR_USER | WRITABLE | PRESENT
        mov     eax, WRITABLE | PRESENT
        mov     edi, TABLE
.map:   stosd
        add     eax, PAGE
        cmp     edi, TABLE + PAGES * 4
        jb      .map
        or      byte [TABLE + (USER / PAGE) * 4], FOR_USER
        or      byte [TABLE + (USER / PAGE + 1) * 4], FOR_USER
        mov     eax, DIRECTORY
        mov     cr3, eax
        mov     eax, cr0
        or      eax, CR0_PG
        mov     cr0, eax

        mov     esi, user
        mov     edi, USER
        mov     ecx, user.end - user
        rep     movsb

; What an interrupt from ring 3 needs: SS and ESP of ring 0, which the processor takes from the TSS.

        mov     eax, TASK
        ltr     ax
        call    find_sysenter

; To ring 3 by what looks like a return from there.

        mov     eax, USER_DATA
        mov     ds, eax
        mov     es, eax
        mov     fs, eax
        mov     gs, eax
        push    dword USER_DATA         ; SS
        push    dword USER_STACK        ; ESP
        push    dword FLAGS_IF | 1 << 1 ; EFLAGS; IOPL 0: no port is for ring 3
        push    dword USER_CODE         ; CS
        push    dword USER              ; EIP
        movzx   eax, byte [has_sysenter]
        iretd

; SYSENTER, if there is CPUID and it says so.
find_sysenter:
        pushfd
        pop     eax
        mov     ecx, eax
        xor     eax, EFLAGS_ID
        push    eax
        popfd
        pushfd
        pop     eax
        cmp     eax, ecx
        je      .none
        mov     eax, 1
        cpuid
        test    edx, CPUID_SEP
        jz      .none
        inc     byte [has_sysenter]
        mov     ecx, SYSENTER_CS
        xor     edx, edx
        mov     eax, CODE
        wrmsr
        mov     ecx, SYSENTER_ESP
        mov     eax, 7C00h
        wrmsr
        mov     ecx, SYSENTER_EIP
        mov     eax, on_sysenter
        wrmsr
.none:  ret

; ==== The kernel's doors ====

; DS and ES are still the program's, and flat as ours are: nothing need be loaded.
on_call:
        call    serve
        iretd

on_sysenter:
        push    ecx
        push    edx
        call    serve
        pop     edx
        pop     ecx
        sti                             ; SYSENTER has put interrupts off
        sysexit

; Do call EAX.  A real kernel would see to it that ESI leads to the program's own memory.
serve:  cmp     eax, CALL_EXIT
        je      exit
        cmp     eax, CALL_PRINT
        jne     .end                    ; a call that there is not
        inc     dword [calls]
        jmp     print_string
.end:   ret

exit:   mov     edi, ebx
        mov     esi, text_calls
        mov     eax, [calls]
        call    print_labelled
        mov     esi, text_status
        mov     eax, edi
        call    print_labelled
        mov     esi, text_new_line
        call    print_string
        jmp     serial_drain_and_end

; Something that ring 3 may not do: say what, and go on behind it.  The program has left in EBP
; where that is.
on_general_protection:
        mov     esi, text_general_protection
        jmp     forbid
on_page_fault:
        mov     esi, text_page_fault
forbid: pop     edi                     ; the error code
        call    print_string
        mov     eax, edi
        call    print_decimal
        mov     esi, text_new_line
        call    print_string
        mov     [esp], ebp              ; EIP
        iretd

print_character equ     serial_put

%include "kernel.inc"
%include "serial.inc"
%include "print.inc"

; ==== The program, which runs at USER; AL = 1: there is SYSENTER ====

%define there(label) (USER + (label) - user)

; Try one instruction, and go on behind it whatever comes of it.
%macro ATTEMPT 2+
        mov     esi, there(%1)
        call    user.print
        mov     ebp, there(%%behind)
        %2
%%behind:
%endmacro

user:   mov     [there(.fast)], al
        mov     esi, there(.text_int)
        call    .print
        cmp     byte [there(.fast)], 0
        je      .slow
        mov     esi, there(.text_sysenter)
        mov     eax, CALL_PRINT
        mov     ecx, esp
        mov     edx, there(.slow)
        sysenter
.slow:  ATTEMPT .text_cli, cli
        ATTEMPT .text_hlt, hlt
        ATTEMPT .text_port, out DEBUG_EXIT, al
        ATTEMPT .text_cr0, mov eax, cr0
        ATTEMPT .text_gate, int MASTER_VECTOR
        ATTEMPT .text_segment, mov ds, [cs:there(.kernel_data)]
        ATTEMPT .text_read, mov eax, [7C00h]
        ATTEMPT .text_write, mov [IDT], eax
        ATTEMPT .text_jump, jmp .away
.away_again:
        mov     ebx, 42
        mov     eax, CALL_EXIT
        int     CALL_VECTOR
.away:  mov     ebp, there(.away_again)
        mov     eax, serve
        jmp     eax

.print: mov     eax, CALL_PRINT
        int     CALL_VECTOR
        ret

.kernel_data:   dw      DATA
.fast:          db      0
.text_int:      db      "ring 3: by INT 30h", CR, LF, 0
.text_sysenter: db      "ring 3: by SYSENTER", CR, LF, 0
.text_cli:      db      "CLI: ", 0
.text_hlt:      db      "HLT: ", 0
.text_port:     db      "OUT: ", 0
.text_cr0:      db      "MOV from CR0: ", 0
.text_gate:     db      "INT 20h, a gate of the kernel's: ", 0
.text_segment:  db      "a segment of the kernel's: ", 0
.text_read:     db      "reading the kernel's memory: ", 0
.text_write:    db      "writing there: ", 0
.text_jump:     db      "jumping there: ", 0
.end:

; ---- The kernel's data ----

        align   4, db 0
gates:  GATE    GENERAL_PROTECTION, on_general_protection, INTERRUPT_GATE
        GATE    PAGE_FAULT, on_page_fault, INTERRUPT_GATE
        GATE    MASTER_VECTOR, on_spurious, INTERRUPT_GATE      ; for nobody to call
        GATE    CALL_VECTOR, on_call, INTERRUPT_GATE | DPL_3
.end:

        align   4, db 0
tss:    dd      0
        dd      7C00h, DATA             ; ESP and SS of ring 0; the rest is not used
        times   TSS_BYTES - 12 - 2 db 0
        dw      TSS_BYTES               ; where the I/O bitmap begins: there is none
calls:          dd      0
has_sysenter:   db      0

text_general_protection: db "#GP, error code ", 0
text_page_fault: db     "#PF, error code ", 0
text_calls:     db      "calls to print: ", 0
text_status:    db      "; the program has ended with status ", 0
text_new_line:  db      CR, LF, 0
