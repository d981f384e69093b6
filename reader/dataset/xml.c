/* Reads one word out of a PASCAL-VOC annotation with expat, and stops there: the class of the first object,
 * which for ILSVRC's CLS-LOC is the class of all of them. Expat itself limits what entities may expand to. */
#include <errno.h>
#include <string.h>

#include <expat.h>

#include "reader/dataset/labels.h"

struct search {
    XML_Parser parser;
    char *text;
    size_t size, used;
    int depth, object_depth, name_depth; /* 0: not inside */
    int found;
};

static void XMLCALL element_starts(void *data, const XML_Char *name, const XML_Char **attributes)
{
    struct search *search = data;

    (void)attributes;
    search->depth++;
    if (search->depth == 2 && strcmp(name, "object") == 0)
        search->object_depth = 2;
    else if (search->depth == 3 && search->object_depth && strcmp(name, "name") == 0)
        search->name_depth = 3;
}

static void XMLCALL end(void *data, const XML_Char *name)
{
    struct search *search = data;

    (void)name;
    if (search->name_depth == search->depth) {
        search->found = 1;
        XML_StopParser(search->parser, XML_FALSE);
    }
    if (search->object_depth == search->depth)
        search->object_depth = 0;
    search->depth--;
}

static void XMLCALL characters(void *data, const XML_Char *bytes, int n)
{
    struct search *search = data;

    if (!search->name_depth || search->found)
        return;
    for (int i = 0; i < n && search->used < search->size - 1; i++)
        if (!strchr(" \t\r\n", bytes[i]))
            search->text[search->used++] = bytes[i];
}

int rd_xml_class(const char *bytes, size_t n, char *ret_class, size_t size, struct im_text *text)
{
    struct search search = {.text = ret_class, .size = size};
    XML_Parser parser = XML_ParserCreate(NULL);
    enum XML_Status status;
    int err = 0;

    if (!parser)
        return -ENOMEM;
    search.parser = parser;
    XML_SetUserData(parser, &search);
    XML_SetElementHandler(parser, element_starts, end);
    XML_SetCharacterDataHandler(parser, characters);
    status = n <= INT_MAX ? XML_Parse(parser, bytes, (int)n, 1) : XML_STATUS_ERROR;
    ret_class[search.used] = '\0';
    if (!search.found || search.used == 0)
        err = im_fail(text, -EBADMSG, "%s",
                      status == XML_STATUS_OK || search.found ? "it names no object"
                                                              : XML_ErrorString(XML_GetErrorCode(parser)));
    XML_ParserFree(parser);
    return err;
}
