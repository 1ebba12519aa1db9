; The first boot sector of every tutorial: a loop around INT 10h AH=0Eh, and a jump to itself.
[org 0x7c00]
[bits 16]
start:
    mov si, message
.loop:
    lodsb
    or al, al
    jz .done
    mov ah, 0x0e
    mov bh, 0
    int 0x10
    jmp .loop
.done:
    jmp $

message db "Hello, World!", 13, 10, 0

times 510-($-$$) db 0
dw 0xaa55
