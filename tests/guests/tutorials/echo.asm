; A prompt: INT 16h AH=00h, echo, a backspace that erases, a command that is compared.
[org 0x7c00]
[bits 16]
    xor ax, ax
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov sp, 0x7c00
    mov ax, 0x0003          ; a clear screen
    int 0x10
main:
    mov si, prompt
    call print
    mov di, buffer
read:
    xor ah, ah
    int 0x16
    cmp al, 0x08
    je backspace
    cmp al, 0x0d
    je enter_key
    cmp al, 0x20
    jb read
    stosb
    mov ah, 0x0e
    int 0x10
    jmp read
backspace:
    cmp di, buffer
    je read
    dec di
    mov si, rubout
    call print
    jmp read
enter_key:
    mov al, 0
    stosb
    mov si, newline
    call print
    mov si, buffer
    mov di, command
    mov cx, 5
    repe cmpsb
    je bye
    mov si, unknown
    call print
    mov si, buffer
    call print
    mov si, newline
    call print
    jmp main
bye:
    mov si, farewell
    call print
    cli
    hlt
print:
    lodsb
    test al, al
    jz .end
    mov ah, 0x0e
    int 0x10
    jmp print
.end:
    ret
prompt db "> ", 0
unknown db "unknown: ", 0
farewell db "bye", 13, 10, 0
rubout db 8, ' ', 8, 0
newline db 13, 10, 0
command db "exit", 0
buffer:
times 510-($-$$) db 0
dw 0xaa55
