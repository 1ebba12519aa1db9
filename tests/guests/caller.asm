; caller: does on COM1's request what only a guest can do: calls interrupts, reads and writes memory.
;
; It is the boot sector of tests/guests/test_bios.py.  A request is a letter and what belongs to
; it, numbers low byte first; the answer comes after MARK, as something called may print, too.
;
;       C, vector, registers            call it; answers with the registers
;       R, address (4), length (2)      answers with the bytes
;       W, address (4), length (2), bytes               answers with nothing
;
; Registers are EDI ESI EBP EBX EDX ECX EAX (4 bytes each), ES DS FLAGS (2 each).  Addresses are
; below 1 MiB.

        cpu     386
        bits    16
        org     7C00h
%include "pc.inc"

MARK_0          equ     0FEh
MARK_1          equ     0EDh
REGISTERS       equ     7 * 4 + 3 * 2

        jmp     0:start
start:  cld

next:   xor     ax, ax
        mov     ds, ax
        mov     es, ax
        call    get
        cmp     al, 'C'
        je      call_it
        mov     bl, al
        call    get_dword
        mov     esi, eax
        call    get_word
        mov     cx, ax
        mov     eax, esi                ; address to DS:SI
        shr     eax, 4
        mov     ds, ax
        and     si, 0Fh
        cmp     bl, 'R'
        je      read

write:  call    get
        mov     [si], al
        inc     si
        loop    write
        call    mark
        jmp     next

read:   call    mark
.byte:  lodsb
        call    put
        loop    .byte
        jmp     next

call_it:
        call    get
        mov     [.vector], al
        jmp     .fetched                ; so that what was written is what is executed
.fetched:
        sub     sp, REGISTERS
        mov     di, sp
        mov     cx, REGISTERS
.get:   call    get
        stosb
        loop    .get
        pop     edi
        pop     esi
        pop     ebp
        pop     ebx
        pop     edx
        pop     ecx
        pop     eax
        pop     es
        pop     ds
        popf
        db      0CDh                    ; INT
.vector:
        db      0
        pushf
        push    ds
        push    es
        push    eax
        push    ecx
        push    edx
        push    ebx
        push    ebp
        push    esi
        push    edi
        xor     ax, ax
        mov     ds, ax
        cld
        call    mark
        mov     si, sp
        mov     cx, REGISTERS
.put:   lodsb
        call    put
        loop    .put
        add     sp, REGISTERS
        jmp     next

mark:   mov     al, MARK_0
        call    put
        mov     al, MARK_1

put:    push    dx
        push    ax
        mov     dx, COM1 + LSR
.busy:  in      al, dx
        test    al, LSR_THRE
        jz      .busy
        mov     dx, COM1
        pop     ax
        out     dx, al
        pop     dx
        ret

get_dword:
        call    get_word
        push    ax
        call    get_word
        shl     eax, 16
        pop     ax
        ret
get_word:
        call    get
        mov     ah, al
        call    get
        xchg    al, ah
        ret
get:    push    dx
        mov     dx, COM1 + LSR
.none:  in      al, dx
        test    al, LSR_DR
        jz      .none
        mov     dx, COM1
        in      al, dx
        pop     dx
        ret

        times   510 - ($ - $$) db 0
        dw      0AA55h
