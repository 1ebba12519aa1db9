; ==== INT 19h: boot; INT 18h: nothing to boot ====

GUEST_MAXIMUM   equ     512 * 1024
BOOT_MARK       equ     0AA55h          ; the last word of a boot sector

BOOT_FLOPPY     equ     1               ; in the order, a device; 0 is none
BOOT_DISK       equ     2

; The order is in CMOS RAM: the first device in the low four bits of 3Dh, the second in the high
; ones, the third in the high ones of 38h.  Where nobody has set one it is floppy, disk.
int_boot:
        cli
        cld
        xor     ax, ax
        mov     ds, ax
        mov     es, ax
        mov     ss, ax
        mov     sp, GUEST
        mov     al, CMOS_BOOT_THIRD
        call    cmos_read
        mov     ah, al
        shr     ah, 4
        mov     al, CMOS_BOOT_FIRST
        call    cmos_read
        and     ax, 0FFFh
        cmp     ax, 0FFFh               ; no such chip
        je      .default
        test    ax, ax
        jnz     .next
.default:
        mov     ax, BOOT_DISK << 4 | BOOT_FLOPPY
.next:  mov     bx, ax                  ; what is left of the order, the next device lowest
        and     bl, 0Fh
        push    ax
        mov     dl, 00h
        cmp     bl, BOOT_FLOPPY
        je      .try
        mov     dl, 80h
        cmp     bl, BOOT_DISK
        jne     .no
.try:   mov     bx, GUEST
        mov     cx, 0001h               ; cylinder 0, sector 1
        mov     dh, 0
        mov     ax, 0201h
        int     13h
        jc      .no
        cmp     word [GUEST + 510], BOOT_MARK
        je      enter_guest
.no:    pop     ax
        shr     ax, 4
        jnz     .next

; No drive: a file.

        push    ds
        push    word EBDA_SEGMENT
        pop     ds
        mov     si, name_guest
        call    find_file
        jc      .no_file
        cmp     ecx, GUEST_MAXIMUM
        ja      .too_large
        mov     ebx, GUEST
        call    fw_cfg_read
        pop     ds
        mov     dl, 80h
        jmp     enter_guest
.no_file:
        pop     ds
        int     18h
.too_large:
        pop     ds
        mov     si, text_too_large
        jmp     stop

int_no_boot:
        push    word 0
        pop     ds
        mov     si, text_no_boot

; Print the string at CS:SI.  Nothing more will happen: let the last character leave the wire, and
; halt with interrupts off, by which anybody can see that this machine has stopped for good.
stop:   call    post_print
        mov     dx, [BDA_COM1]
        test    dx, dx
        jz      .halt
        add     dx, LSR
.busy:  in      al, dx
        test    al, LSR_TEMT
        jz      .busy
.halt:  cli
        hlt
        jmp     .halt                   ; NMI ends a HLT even so

; Enter what is at GUEST, from drive DL.  IRET takes IP, CS and FLAGS from the stack: the guest gets
; all three at once, and SP is then where it was.
enter_guest:
        push    dx
        mov     si, text_loaded
        call    post_print
        call    keyboard_on
        pop     dx
        mov     sp, GUEST
        push    word FLAGS_IF | 1 << 1  ; bit 1 of FLAGS is always 1
        push    word 0
        push    word GUEST
        xor     eax, eax
        mov     fs, ax
        mov     gs, ax
        xor     ebx, ebx
        xor     ecx, ecx
        movzx   edx, dl
        xor     esi, esi
        xor     edi, edi
        xor     ebp, ebp
        iret

name_guest:     db      "opt/emu/guest", 0

text_loaded:    db      "guest at 0000:7C00", CR, LF, 0
text_no_boot:   db      "no bootable device", CR, LF, 0
text_too_large: db      "guest is larger than 512 KiB", CR, LF, 0
