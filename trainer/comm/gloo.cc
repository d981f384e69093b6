/* Collectives with Gloo, the only C++ of the product: exceptions end here and become errno values with a
 * sentence.
 *
 * Gloo's own rendezvous needs a key-value store; the ranks have something simpler, one card each (comm.h), so
 * the mesh is built here from Gloo's pairs. A card lists, for each other rank, the address to connect to and
 * a secret that the connecting rank has to present. Pairs listen on ephemeral ports, on the loopback interface or, where
 * ranks are on several machines, at this one's address, and only until they are connected; but any process of the machine,
 * or of the network, may connect to such a port first.
 * A peer that cannot present the secret of its rank is detected before any data is exchanged.
 *
 * Why ring all-reduce: each chunk of the array is reduced along the ring, from a rank that follows from the
 * chunk's number, and then copied to all ranks. So the order of additions is fixed, and each sum is computed
 * once. Gloo's other algorithms would be correct too; this one moves the fewest bytes.
 *
 * It does not overlap with the backward pass: the sum of 25 million floats takes a hundredth of the step on a
 * CPU. */
#include "trainer/comm/comm.h"

#include <cerrno>
#include <chrono>
#include <cstring>
#include <exception>
#include <memory>
#include <new>
#include <sys/random.h>
#include <vector>

#include <gloo/allgather.h>
#include <gloo/allreduce.h>
#include <gloo/alltoall.h>
#include <gloo/broadcast.h>
#include <gloo/common/error.h>
#include <gloo/context.h>
#include <gloo/transport/context.h>
#include <gloo/transport/device.h>
#include <gloo/transport/pair.h>
#include <gloo/transport/tcp/device.h>

extern "C" {
#include "ipc/base/err.h"
}

namespace
{

constexpr size_t secret_bytes = 16;

/* Carries the result of a rendezvous function through C++ as an exception. */
struct stopped {
    int status;
};

class mesh : public gloo::Context
{
  public:
    mesh(const tr_comm_config &config, std::vector<char> &ret_secrets);
    void connect(const tr_comm_config &config, const std::vector<char> &secrets);

  private:
    std::vector<char> card(const std::vector<char> &secrets) const;
    void prove(const std::vector<char> &show, const std::vector<char> &expect);
    size_t address_bytes = 0;
};

mesh::mesh(const tr_comm_config &config, std::vector<char> &ret_secrets)
    : gloo::Context(config.rank, config.ranks)
{
    gloo::transport::tcp::attr here(config.address && *config.address ? config.address : "127.0.0.1");

    setTimeout(std::chrono::milliseconds(config.timeout_ms));
    device_ = gloo::transport::tcp::CreateDevice(here);
    transportContext_ = device_->createContext(rank, size);
    transportContext_->setTimeout(getTimeout());
    for (int i = 0; i < size; i++) {
        if (i == rank)
            continue;
        auto &pair = transportContext_->createPair(i);

        pair->setLocalRank(0);
        address_bytes = pair->address().bytes().size();
    }
    ret_secrets.resize(static_cast<size_t>(size) * secret_bytes);
    if (getrandom(ret_secrets.data(), ret_secrets.size(), 0) != static_cast<ssize_t>(ret_secrets.size()))
        throw stopped{-errno};
}

/* For each rank, in order: the address it connects to, the secret that it presents to us. */
std::vector<char> mesh::card(const std::vector<char> &secrets) const
{
    std::vector<char> all;

    for (int i = 0; i < size; i++) {
        std::vector<char> address(address_bytes);
        const char *secret = &secrets[static_cast<size_t>(i) * secret_bytes];

        if (i != rank)
            address = transportContext_->getPair(i)->address().bytes();
        all.insert(all.end(), address.begin(), address.end());
        all.insert(all.end(), secret, secret + secret_bytes);
    }
    return all;
}

void mesh::prove(const std::vector<char> &show, const std::vector<char> &expect)
{
    std::vector<char> got(show.size());
    std::shared_ptr<gloo::Context> self(this, [](gloo::Context *) {});
    gloo::AlltoallOptions all(self);

    all.setInput(const_cast<char *>(show.data()), show.size());
    all.setOutput(got.data(), got.size());
    gloo::alltoall(all);
    for (size_t i = 0; i < static_cast<size_t>(size); i++)
        if (i != static_cast<size_t>(rank) &&
            memcmp(&got[i * secret_bytes], &expect[i * secret_bytes], secret_bytes) != 0)
            throw stopped{-EACCES};
}

void mesh::connect(const tr_comm_config &config, const std::vector<char> &secrets)
{
    const tr_rendezvous &r = config.rendezvous;
    const size_t entry = address_bytes + secret_bytes;
    std::vector<char> mine = card(secrets), show(secrets.size()), theirs(TR_CARD_BYTES_MAX);
    int status = mine.size() <= TR_CARD_BYTES_MAX ? r.publish(r.context, mine.data(), mine.size()) : -E2BIG;

    if (status)
        throw stopped{status};
    for (int i = 0; i < size; i++) {
        const char *at = &theirs[static_cast<size_t>(rank) * entry];
        size_t bytes = 0;

        if (i == rank)
            continue;
        status = r.fetch(r.context, i, theirs.data(), &bytes);
        if (status == 0 && bytes != mine.size())
            status = -EBADMSG;
        if (status)
            throw stopped{status};
        memcpy(&show[static_cast<size_t>(i) * secret_bytes], at + address_bytes, secret_bytes);
        transportContext_->getPair(i)->connect(std::vector<char>(at, at + address_bytes));
    }
    prove(show, secrets);
}

void gloo_add(void *sum, const void *a, const void *b, size_t count)
{
    const float *x = static_cast<const float *>(a), *y = static_cast<const float *>(b);
    float *s = static_cast<float *>(sum);

    for (size_t i = 0; i < count; i++)
        s[i] = x[i] + y[i];
}

/* Turns the current exception into an errno and a sentence. */
int failed(struct im_text *text, const char *what)
{
    try {
        throw;
    } catch (const stopped &s) {
        return s.status > 0 ? s.status : im_fail(text, s.status, "%s: %s", what, strerror(-s.status));
    } catch (const std::bad_alloc &) {
        return im_fail(text, -ENOMEM, "%s: no memory", what);
    } catch (const gloo::IoException &e) {
        /* Gloo has one type for both; the transport's message tells them apart. */
        bool late = strstr(e.what(), "imed out") || strstr(e.what(), "imeout");

        return im_fail(text, late ? -ETIMEDOUT : -ECONNRESET, "%s: %s", what, e.what());
    } catch (const std::exception &e) {
        return im_fail(text, -EIO, "%s: %s", what, e.what());
    }
}

} // namespace

struct tr_comm {
    std::shared_ptr<mesh> context;
    uint32_t tag;
};

namespace
{

/* Calls are sequential, but the next call of a fast rank may arrive while a slow rank is still in this
 * one. */
uint32_t next_tag(tr_comm *comm)
{
    comm->tag = (comm->tag + 1) & 0xffffff;
    return comm->tag;
}

int open_comm(const tr_comm_config *config, tr_comm **ret_comm, im_text *text)
{
    try {
        std::vector<char> secrets;
        std::unique_ptr<tr_comm> comm(new tr_comm{std::make_shared<mesh>(*config, secrets), 0});

        comm->context->connect(*config, secrets);
        *ret_comm = comm.release();
        return 0;
    } catch (...) {
        return failed(text, "the trainers cannot connect to each other");
    }
}

void close_comm(tr_comm *comm)
{
    try {
        delete comm;
    } catch (...) {
        return; /* the connections of exited ranks are closed already */
    }
}

int sum(tr_comm *comm, float *x, size_t count, im_text *text)
{
    if (count == 0)
        return 0;
    try {
        gloo::AllreduceOptions options(comm->context);

        options.setAlgorithm(gloo::AllreduceOptions::Algorithm::RING);
        options.setReduceFunction(gloo_add);
        options.setOutput(x, count);
        options.setTag(next_tag(comm));
        gloo::allreduce(options);
        return 0;
    } catch (...) {
        return failed(text, "summing over the trainers");
    }
}

/* Adds what all ranks have of one slice of a part of the array. */
void add_slices(float *sum, const float *before, const float *all, size_t slice, uint32_t ranks)
{
    const float *from = all;

    if (before) {
        std::memcpy(sum, before, slice * sizeof *sum);
    } else {
        std::memcpy(sum, all, slice * sizeof *sum);
        from += slice;
        ranks--;
    }
    for (uint32_t r = 0; r < ranks; r++, from += slice)
        for (size_t i = 0; i < slice; i++)
            sum[i] += from[i];
}

/* One part: each rank gets a slice of it from all, adds them, and all get the sums of all slices. */
void sum_part(tr_comm *comm, float *x, const float *before, size_t count, uint32_t ranks,
              std::vector<float> &room)
{
    const size_t size = static_cast<size_t>(comm->context->size),
                 rank = static_cast<size_t>(comm->context->rank);
    const size_t slice = (count + size - 1) / size, at = rank * slice < count ? rank * slice : count;
    const size_t mine = count - at < slice ? count - at : slice;
    float *out = room.data(), *in = out + slice * size, *start = in + slice * size, *sums = start + slice;
    gloo::AlltoallOptions spread(comm->context);
    gloo::AllgatherOptions collect(comm->context);

    std::memcpy(out, x, count * sizeof *x);
    std::memset(out + count, 0, (slice * size - count) * sizeof *x);
    spread.setInput(out, slice * size);
    spread.setOutput(in, slice * size);
    spread.setTag(next_tag(comm));
    gloo::alltoall(spread);
    if (before) {
        std::memset(start, 0, slice * sizeof *x);
        std::memcpy(start, before + at, mine * sizeof *x);
    }
    add_slices(sums, before ? start : nullptr, in, slice, ranks);
    collect.setInput(sums, slice);
    collect.setOutput(out, slice * size);
    collect.setTag(next_tag(comm));
    gloo::allgather(collect);
    std::memcpy(x, out, count * sizeof *x);
}

/* Part by part, so that the room for it is bounded. */
int sum_in_order(tr_comm *comm, float *x, const float *before, size_t count, uint32_t ranks, im_text *text)
{
    constexpr size_t part = 1 << 20;
    const size_t size = static_cast<size_t>(comm->context->size);

    try {
        std::vector<float> room(2 * (part + size) + 2 * (part / size + 1));

        for (size_t i = 0; i < count; i += part)
            sum_part(comm, x + i, before ? before + i : nullptr, count - i < part ? count - i : part, ranks,
                     room);
        return 0;
    } catch (...) {
        return failed(text, "summing over the trainers");
    }
}

int gather(tr_comm *comm, const float *x, size_t count, float *ret_all, im_text *text)
{
    if (count == 0)
        return 0;
    try {
        gloo::AllgatherOptions options(comm->context);

        options.setInput(const_cast<float *>(x), count);
        options.setOutput(ret_all, count * static_cast<size_t>(comm->context->size));
        options.setTag(next_tag(comm));
        gloo::allgather(options);
        return 0;
    } catch (...) {
        return failed(text, "gathering from the trainers");
    }
}

int broadcast(tr_comm *comm, void *data, size_t bytes, int root, im_text *text)
{
    if (bytes == 0)
        return 0;
    try {
        gloo::BroadcastOptions options(comm->context);

        options.setOutput(static_cast<char *>(data), bytes);
        options.setRoot(root);
        options.setTag(next_tag(comm));
        gloo::broadcast(options);
        return 0;
    } catch (...) {
        return failed(text, "broadcasting to the trainers");
    }
}

} // namespace

extern "C" const tr_comm_ops tr_comm_gloo = {
    "gloo", open_comm, close_comm, sum, sum_in_order, gather, broadcast, nullptr, nullptr, nullptr,
};
