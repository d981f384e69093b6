/* The inverse of im_plan_place(). */
#ifndef TESTS_SUPPORT_TICKET_H
#define TESTS_SUPPORT_TICKET_H

#include "ipc/plan.h"

/* The ticket at (batch, rank, place); the place must be below im_plan_batch_count(). */
static inline uint64_t ticket_at(const struct im_plan *plan, uint64_t batch, uint32_t rank, uint32_t place)
{
    return im_plan_first_ticket(plan, batch) + (uint64_t)place * plan->ranks + rank;
}

#endif
