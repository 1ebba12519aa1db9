; Into 32-bit protected mode: A20 by INT 15h AX=2401h, or else the keyboard controller, or else port
; 92h; a flat GDT; then text in VGA memory, as everywhere, and on the serial port, as nobody looks
; at the former here.
[org 0x7c00]
[bits 16]
    mov bp, 0x9000
    mov sp, bp
    mov ax, 0x2401
    int 0x15
    jnc .a20
    call kbc_wait
    mov al, 0xd1
    out 0x64, al
    call kbc_wait
    mov al, 0xdf
    out 0x60, al
    call kbc_wait
.a20:
    in al, 0x92
    or al, 2
    out 0x92, al
    mov ah, 0x0e
    mov al, '1'
    int 0x10
    mov al, '6'
    int 0x10
    cli
    lgdt [gdt_descriptor]
    mov eax, cr0
    or eax, 1
    mov cr0, eax
    jmp 0x08:protected

kbc_wait:
    in al, 0x64
    test al, 2
    jnz kbc_wait
    ret

gdt_start:
    dq 0
    dq 0x00cf9a000000ffff
    dq 0x00cf92000000ffff
gdt_end:
gdt_descriptor:
    dw gdt_end - gdt_start - 1
    dd gdt_start

[bits 32]
protected:
    mov ax, 0x10
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov esp, 0x90000
    mov byte [0x100000], 1  ; A20: these are two bytes
    mov byte [0x000000], 2
    cmp byte [0x100000], 1
    jne $
    mov edi, 0xb8000
    mov esi, message
.next:
    lodsb
    test al, al
    jz .halt
    mov ah, 0x0f
    stosw
    mov bl, al
    mov dx, 0x3fd
.wait:
    in al, dx
    test al, 0x20
    jz .wait
    mov dx, 0x3f8
    mov al, bl
    out dx, al
    jmp .next
.halt:
    hlt
    jmp .halt

message db 13, 10, "32-bit protected mode", 13, 10, 0
times 510-($-$$) db 0
dw 0xaa55
