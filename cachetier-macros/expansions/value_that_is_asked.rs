async fn search(text: &str) -> Result<Vec<Hit>, DbError> {
    #[allow(unused_imports)]
    use ::cachetier::attribute::probes::*;
    #[allow(clippy::all, clippy::pedantic)]
    let __shape = (&&(&&&&::cachetier::attribute::Probe::<
        Result<Vec<Hit>, DbError>,
    >::new())
        .shape())
        .checked();
    #[allow(clippy::all, clippy::pedantic)]
    let (__cache, __key) = {
        let __cache = ::cachetier::attribute::installed();
        let mut __key = ::cachetier::KeyText::new();
        __key.literal("search:");
        __key.part(&(text));
        if let ::std::option::Option::Some(__hit) = __shape.hit(&__cache, &__key) {
            return __hit;
        }
        (__cache.into_owned(), ::std::string::String::from(__key))
    };
    #[allow(clippy::all, clippy::pedantic)]
    let __rules = ::cachetier::attribute::tags_with(
        &__shape,
        ::cachetier::attribute::ttl_with(
            &__shape,
            ::cachetier::attribute::cache_if(
                &__shape,
                ::cachetier::attribute::rules(
                    ::cachetier::Policy::ttl(::std::time::Duration::new(300u64, 0u32)),
                    ::std::vec![],
                ),
                complete,
            ),
            |hits| hits.life(),
        ),
        tags,
    );
    #[allow(clippy::all, clippy::pedantic)]
    let __sharing = (&&&::cachetier::attribute::ErrorProbe::of(&__shape)).sharing();
    __shape
        .load(
            __cache,
            __key,
            __rules,
            __sharing,
            async move {
                if let ::std::option::Option::Some(__returned) = ::std::option::Option::None::<
                    Result<Vec<Hit>, DbError>,
                > {
                    return __returned;
                }
                #[allow(clippy::let_unit_value, clippy::diverging_sub_expression)]
                let __returned: Result<Vec<Hit>, DbError> = { find(text).await };
                #[allow(unreachable_code)] return __returned;
            },
        )
        .await
}
///What belongs to [`search`](fn@search): its keys.
mod search {
    #[allow(unused_imports)]
    use super::*;
    ///Returns the key under which a call of [`search`](fn@super::search) with these arguments is cached.
    #[must_use]
    #[allow(dead_code, unused_variables, clippy::all, clippy::pedantic)]
    pub(super) fn key(text: &str) -> ::std::string::String {
        ::std::string::String::from({
            let mut __key = ::cachetier::KeyText::new();
            __key.literal("search:");
            __key.part(&(text));
            __key
        })
    }
    ///Invalidates what a call of [`search`](fn@super::search) with these arguments has cached, in every instance.
    ///
    /// # Errors
    ///
    /// Those of an invalidation of the key; and that there is no cache.
    #[allow(dead_code, unused_variables, clippy::all, clippy::pedantic)]
    pub(super) async fn invalidate(
        text: &str,
    ) -> ::std::result::Result<::cachetier::Delivery, ::cachetier::CacheError> {
        let __key = {
            let mut __key = ::cachetier::KeyText::new();
            __key.literal("search:");
            __key.part(&(text));
            __key
        };
        let __cache = ::cachetier::attribute::installed();
        ::cachetier::attribute::invalidate(&__cache, &__key).await
    }
}
