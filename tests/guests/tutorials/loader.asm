; Two stages: the sectors behind the boot sector are read by INT 13h AH=02h from the drive in DL,
; after a reset and with three tries, to 1000:0000, and entered by a far jump.  The image ends
; where its code does, and more sectors are read than it has.
[org 0x7c00]
[bits 16]
    cli
    xor ax, ax
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov sp, 0x7c00
    sti
    cld
    mov [boot_drive], dl
    mov si, loading
    call print
    mov di, 3
.try:
    xor ah, ah
    mov dl, [boot_drive]
    int 0x13
    mov ax, 0x1000
    mov es, ax
    xor bx, bx
    mov ax, 0x020f          ; 15 sectors
    mov cx, 0x0002          ; from the second on
    mov dh, 0
    mov dl, [boot_drive]
    int 0x13
    jnc .loaded
    dec di
    jnz .try
    mov si, failed
    call print
    jmp $
.loaded:
    cmp al, 15
    jne $
    jmp 0x1000:0x0000

print:
    lodsb
    test al, al
    jz .end
    mov ah, 0x0e
    mov bx, 0x0007
    int 0x10
    jmp print
.end:
    ret

boot_drive db 0
loading db "Loading...", 13, 10, 0
failed db "Disk error!", 13, 10, 0
times 510-($-$$) db 0
dw 0xaa55

second_stage:
    mov ax, cs
    mov ds, ax
    mov si, welcome - second_stage
.next:
    lodsb
    test al, al
    jz .halt
    mov ah, 0x0e
    int 0x10
    jmp .next
.halt:
    cli
    hlt
    jmp .halt
    times 3000 db 0x90      ; a kernel of several sectors
welcome db "Second stage here.", 13, 10, 0
