/* A guest who does not want to be caught: it forks, ends, and goes on in the child, which leaves
 * session and process group. Counts in the file that it is given. */
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

int main(int count, char **words) {
    int file = count > 1 ? open(words[1], O_RDWR) : -1;
    volatile unsigned *turns = mmap(0, sizeof(unsigned), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (turns == MAP_FAILED)
        return 1;
    signal(SIGCHLD, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    signal(SIGTERM, SIG_IGN);
    for (;;) {
        if (fork() > 0)
            _exit(0);
        setsid();
        ++*turns;
    }
}
